// What a warp multiplies, of 16 queries and its share of a step's keys.
#pragma once

namespace kvcache::kernels::query_tile {

/// Scores, and values mixed by weights, each lane its part as the matrix instruction gives them:
/// scores of queries g and g + 8, for each eight keys those of 2t and 2t + 1 (lane = 4·g + t).
///
///     score(queries, keys, lane, scores)           adds queries · keysᵀ to scores
///     mix(values, lane, weights, mixed)            adds weights · values to mixed
///     store(mixed, r, lane, to)                    mixed values of query g + 8r to [head_dim]
template <typename T, typename Shape>
struct TileProducts;

}  // namespace kvcache::kernels::query_tile
