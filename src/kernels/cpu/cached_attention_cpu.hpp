// The attention node on the CPU.
#pragma once

#include "base/parallel_for.hpp"
#include "kernels/cached_attention_args.hpp"

namespace kvcache::kernels {

/// Writes the new keys and values into the pool and attends, all rows and heads in parallel.
///
/// T is float, Float16 or BFloat16, Cache the same or, with float, one of the others
/// or std::int8_t, of which each row ends with its scale; arithmetic and softmax are float32
/// throughout. New keys and values are rounded to Cache once, and every token attends to what the
/// pool holds, itself included. The result does not depend on the number of threads. The arguments
/// must have been checked.
template <typename T, typename Cache>
void cached_attention_cpu(const CachedAttentionArgs<T, Cache>& args,
                          const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
