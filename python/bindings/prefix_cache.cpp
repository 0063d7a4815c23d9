// Prefixes that were computed before, found by their tokens.

#include "kvcache/prefix_cache.hpp"

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {

void bind_prefix_cache(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<PrefixCacheStats>(module, "PrefixCacheStats", "What a PrefixCache did, and holds now.")
      .def_ro("hits", &PrefixCacheStats::hits, "Times acquire() found at least one token.")
      .def_ro("misses", &PrefixCacheStats::misses, "Or none.")
      .def_ro("tokens_reused", &PrefixCacheStats::tokens_reused, "By all hits together.")
      .def_ro("blocks_evicted", &PrefixCacheStats::blocks_evicted)
      .def_ro("blocks", &PrefixCacheStats::blocks, "Known now.")
      .def_ro("bytes", &PrefixCacheStats::bytes, "Of these, whoever else holds them too.");

  nb::class_<PrefixCache>(
      module, "PrefixCache",
      "Remembers sequences by their tokens and hands out what is known of others. Whole blocks\n"
      "are remembered, by reference: nothing is copied, and the least recently used are\n"
      "forgotten first. Any thread may use it; it keeps the model alive.\n\n"
      "Source: include/kvcache/prefix_cache.hpp, docs/PREFIX_CACHE.md.")
      .def(
          "__init__",
          [](PrefixCache* self, const Model& model, std::size_t max_bytes) {
            new (self) PrefixCache(model, {max_bytes});
          },
          "model"_a, nb::kw_only(), "max_bytes"_a = 0,
          "Args:\n    max_bytes: the most memory that known prefixes may hold on to; 0: half of "
          "the\n"
          "        model's cache_bytes.")
      .def(
          "acquire",
          [](PrefixCache& cache, const nb::object& tokens) {
            const std::vector<TokenId> wanted = to_tokens(tokens);
            const Unlocked released;
            return SequenceObject(cache.acquire(wanted));
          },
          "tokens"_a, nb::sig("def acquire(self, tokens: " KVCACHE_PY_TOKENS ") -> Sequence"),
          "A sequence that holds the longest known prefix of `tokens`, at least one token short "
          "of\n"
          "them: extending it by the rest, tokens[sequence.length:], gives their logits.\n\n"
          "Raises:\n    Error: empty_input, token_out_of_range, context_full.")
      .def(
          "longest_match",
          [](const PrefixCache& cache, const nb::object& tokens) {
            return cache.longest_match(to_tokens(tokens));
          },
          "tokens"_a, nb::sig("def longest_match(self, tokens: " KVCACHE_PY_TOKENS ") -> int"),
          "How long that prefix is, in tokens. Counts as no use.")
      .def(
          "insert",
          [](PrefixCache& cache, const SequenceObject& object) {
            object.read([&](const Sequence& sequence) {
              const Unlocked released;
              cache.insert(sequence);
            });
          },
          "sequence"_a,
          "Remembers the whole blocks of a sequence.\n\n"
          "Raises:\n    Error: invalid_argument when it is of another model or has given blocks "
          "back.")
      .def("clear", &PrefixCache::clear, nb::call_guard<Unlocked>(), "Forgets everything.")
      .def("stats", &PrefixCache::stats);
}

}  // namespace kvcache::python
