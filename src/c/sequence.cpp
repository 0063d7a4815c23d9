// Sequences of kvcache.h.
#include "kvcache/sequence.hpp"

#include "c/boundary.hpp"
#include "c/handles.hpp"

using namespace kvcache::c;

void kvcache_sequence_destroy(kvcache_sequence* sequence) noexcept { delete sequence; }

kvcache_status kvcache_sequence_extend(kvcache_sequence* sequence, const int64_t* tokens,
                                       size_t num_tokens, kvcache_logits_for logits_for,
                                       kvcache_logits** logits) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_logits*& made = result(call, logits, "logits");
    auto handle = std::make_unique<kvcache_logits>();  // before the sequence changes
    handle->logits.emplace(call.needed(sequence, "sequence")
                               .sequence.extend(call.elements(tokens, num_tokens, "tokens"),
                                                call.logits_for(logits_for)));
    made = handle.release();
  });
}

kvcache_status kvcache_sequence_fork(const kvcache_sequence* sequence,
                                     kvcache_sequence** fork) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_sequence*& made = result(call, fork, "fork");
    const kvcache_sequence& of = call.needed(sequence, "sequence");
    made = new_handle<kvcache_sequence>(of.sequence.fork(), of.model);
  });
}

kvcache_status kvcache_sequence_rewind(kvcache_sequence* sequence, size_t length) noexcept {
  return guard(__func__, [&](const Call& call) {
    call.needed(sequence, "sequence").sequence.rewind(length);
  });
}

kvcache_status kvcache_sequence_can_rewind_to(const kvcache_sequence* sequence, size_t length,
                                              bool* can) noexcept {
  return guard(__func__, [&](const Call& call) {
    bool& answer = call.needed(can, "can");
    answer = call.needed(sequence, "sequence").sequence.can_rewind_to(length);
  });
}

kvcache_status kvcache_sequence_reset(kvcache_sequence* sequence) noexcept {
  return guard(__func__,
               [&](const Call& call) { call.needed(sequence, "sequence").sequence.reset(); });
}

kvcache_status kvcache_sequence_length(const kvcache_sequence* sequence, size_t* length) noexcept {
  return guard(__func__, [&](const Call& call) {
    std::size_t& answer = call.needed(length, "length");
    answer = call.needed(sequence, "sequence").sequence.length();
  });
}

kvcache_status kvcache_sequence_tokens(const kvcache_sequence* sequence, const int64_t** tokens,
                                       size_t* num_tokens) noexcept {
  return guard(__func__, [&](const Call& call) {
    const int64_t*& first = result(call, tokens, "tokens");
    std::size_t& count = call.needed(num_tokens, "num_tokens");
    const std::span<const kvcache::TokenId> cached =
        call.needed(sequence, "sequence").sequence.tokens();
    first = cached.data();
    count = cached.size();
  });
}

kvcache_status kvcache_sequence_first_cached(const kvcache_sequence* sequence,
                                             size_t* first) noexcept {
  return guard(__func__, [&](const Call& call) {
    std::size_t& answer = call.needed(first, "first");
    answer = call.needed(sequence, "sequence").sequence.first_cached();
  });
}

kvcache_status kvcache_sequence_fits(const kvcache_sequence* sequence, size_t num_tokens,
                                     bool* fits) noexcept {
  return guard(__func__, [&](const Call& call) {
    bool& answer = call.needed(fits, "fits");
    answer = call.needed(sequence, "sequence").sequence.fits(num_tokens);
  });
}

kvcache_status kvcache_sequence_save(const kvcache_sequence* sequence, const char* path) noexcept {
  return guard(__func__, [&](const Call& call) {
    call.needed(sequence, "sequence").sequence.save(&call.needed(path, "path"));
  });
}
