// Extensions of several sequences, as one run.
#include "kvcache/batch.hpp"

#include <utility>
#include <vector>

#include "base/throw_error.hpp"
#include "inference/extend.hpp"
#include "kvcache/sequence.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {

std::vector<Logits> extend(std::span<const Extension> batch) try {
  std::vector<inference::Addition> additions;
  additions.reserve(batch.size());
  for (const auto& [sequence, tokens, logits_for] : batch) {
    if (sequence == nullptr || !sequence->state_) {
      throw_error(ErrorCode::invalid_argument,
                  "element {} of the batch names no sequence, or one that was moved away",
                  additions.size());
    }
    additions.push_back({sequence->state_.get(), tokens, logits_for});
  }
  std::vector<Logits> results;
  results.reserve(batch.size());  // nothing may fail once the sequences have changed
  const inference::WorkspaceLease lease = inference::extend(additions);
  std::size_t first = 0;
  for (const inference::Addition& addition : additions) {
    results.emplace_back(lease, first, addition.num_logits());
    first += addition.num_logits();
  }
  return results;
} catch (...) {
  rethrow_as_error(kRun);
}

}  // namespace kvcache
