// Batches of kvcache.h.
#include "kvcache/batch.hpp"

#include "c/batch.hpp"
#include "c/boundary.hpp"
#include "c/handles.hpp"

namespace kvcache::c {

void throw_batch_size(const Call& call, std::size_t size) {
  throw_error(ErrorCode::invalid_argument,
              "{}: the batch has {} elements, must have at most {}; run it in parts",
              call.function(), size, kLargestBatch);
}

void throw_element_size(const Call& call, std::size_t index, std::size_t size, std::size_t first) {
  throw_error(ErrorCode::invalid_argument,
              "{}: struct_size of element {} of the batch is {}, must be that of element 0, {}",
              call.function(), index, size, first);
}

namespace {

std::vector<Extension> to_extensions(const Call& call,
                                     std::span<const kvcache_extension> elements) {
  std::vector<Extension> made;
  made.reserve(elements.size());
  for (const kvcache_extension& element : elements) {
    if (element.reserved != 0) {
      throw_error(ErrorCode::invalid_argument,
                  "{}: reserved of element {} of the batch is {}, must be 0", call.function(),
                  made.size(), element.reserved);
    }
    made.push_back({.sequence = &call.needed(element.sequence, "sequence of an element").sequence,
                    .tokens = call.elements(element.tokens, element.num_tokens, "tokens"),
                    .logits_for = call.logits_for(element.logits_for)});
  }
  return made;
}

}  // namespace
}  // namespace kvcache::c

using namespace kvcache::c;

kvcache_status kvcache_extend(const kvcache_extension* batch, size_t size,
                              kvcache_logits** logits) noexcept {
  return guard(__func__, [&](const Call& call) {
    Results results(call, logits, size, "logits");
    const std::vector<kvcache::Extension> extensions =
        to_extensions(call, read_batch(call, batch, size));
    results.give(kvcache::extend(extensions), &kvcache_logits::logits);
  });
}
