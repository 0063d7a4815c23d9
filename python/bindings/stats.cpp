// What the cache takes and what it copied.

#include "kvcache/stats.hpp"

#include <nanobind/stl/vector.h>

#include "bindings/bind.hpp"

namespace kvcache::python {

void bind_stats(nb::module_& module) {
  nb::class_<LayerGroupStats>(module, "LayerGroupStats", "What the layers with one window take.")
      .def_ro("window", &LayerGroupStats::window,
              "Tokens that one sees there, itself included; 0: all before it.")
      .def_ro("layers", &LayerGroupStats::layers, "So many have it.")
      .def_ro("block_bytes", &LayerGroupStats::block_bytes, "Of one block, in these layers.")
      .def_ro("blocks_in_use", &LayerGroupStats::blocks_in_use, "Held by sequences.")
      .def_ro("blocks_shared", &LayerGroupStats::blocks_shared, "Of those, by more than one.")
      .def_ro("blocks_free", &LayerGroupStats::blocks_free, "Allocated, held by nobody.");

  nb::class_<CacheStats>(module, "CacheStats",
                         "The state of a model's cache, all sequences together. Bytes count keys\n"
                         "and values of all layers.\n\n"
                         "Source: include/kvcache/stats.hpp.")
      .def_ro("block_len", &CacheStats::block_len, "Tokens per block.")
      .def_ro("block_bytes", &CacheStats::block_bytes, "Of one block, all layers.")
      .def_ro("blocks_in_use", &CacheStats::blocks_in_use, "Held by sequences.")
      .def_ro("blocks_shared", &CacheStats::blocks_shared, "Of those, held by more than one.")
      .def_ro("blocks_free", &CacheStats::blocks_free, "Allocated, held by nobody.")
      .def_ro("blocks_limit", &CacheStats::blocks_limit, "The most that the byte budget permits.")
      .def_ro("bytes_allocated", &CacheStats::bytes_allocated, "Taken from the system now.")
      .def_ro("bytes_peak", &CacheStats::bytes_peak, "The most that ever was.")
      .def_ro("allocations", &CacheStats::allocations, "Times memory was taken from the system.")
      .def_ro("groups", &CacheStats::groups, "By window, where layers give blocks back apart.")
      .def_prop_ro("bytes_in_use", &CacheStats::bytes_in_use)
      .def_prop_ro("bytes_shared", &CacheStats::bytes_shared)
      .def_prop_ro("bytes_free", &CacheStats::bytes_free)
      .def_ro("in_place_runs", &CacheStats::in_place_runs,
              "Node runs that wrote new tokens into the cache.")
      .def_ro("growing_runs", &CacheStats::growing_runs,
              "Node runs without the cache (Model.forward_without_cache).")
      .def_ro("bytes_copied", &CacheStats::bytes_copied, "Of cached tokens, ever.")
      .def_ro("tokens_compared", &CacheStats::tokens_compared,
              "Of prefixes, by Sequence.commit(), ever.");
}

}  // namespace kvcache::python
