// Tokenizers of kvcache.h.
#include "kvcache/tokenizer.hpp"

#include <optional>
#include <vector>

#include "c/boundary.hpp"
#include "c/handles.hpp"
#include "c/owned.hpp"
#include "c/structs.hpp"

namespace kvcache::c {
namespace {

kvcache_encode_options default_encoding() {
  const EncodeOptions defaults;
  return {.struct_size = sizeof(kvcache_encode_options),
          .add_special_tokens = defaults.add_special_tokens ? 1 : 0,
          .special_tokens_as_text = defaults.special_tokens_as_text ? 1 : 0};
}

kvcache_decode_options default_decoding() {
  const DecodeOptions defaults;
  return {.struct_size = sizeof(kvcache_decode_options),
          .skip_special_tokens = defaults.skip_special_tokens ? 1 : 0,
          .skip_unknown_ids = defaults.skip_unknown_ids ? 1 : 0};
}

EncodeOptions to_options(const Call& call, const kvcache_encode_options* options) {
  if (options == nullptr) {
    return {};
  }
  const auto given = read_struct(call, options, "options", default_encoding());
  return {
      .add_special_tokens = call.truth(given.add_special_tokens, "add_special_tokens"),
      .special_tokens_as_text = call.truth(given.special_tokens_as_text, "special_tokens_as_text")};
}

DecodeOptions to_options(const Call& call, const kvcache_decode_options* options) {
  if (options == nullptr) {
    return {};
  }
  const auto given = read_struct(call, options, "options", default_decoding());
  return {.skip_special_tokens = call.truth(given.skip_special_tokens, "skip_special_tokens"),
          .skip_unknown_ids = call.truth(given.skip_unknown_ids, "skip_unknown_ids")};
}

const Tokenizer& to_tokenizer(const Call& call, const kvcache_tokenizer* tokenizer) {
  return call.needed(tokenizer, "tokenizer").tokenizer;
}

/// A text that may not be there, to the caller.
void give_text(const std::optional<std::string>& found, char*& text, std::size_t& size) {
  if (found) {
    text = copy_for_caller(*found);
  }
  size = found ? found->size() : 0;
}

/// What a stream's text has grown by, kept in its handle.
void give_piece(kvcache_text_stream& stream, std::string&& piece, const char*& text,
                std::size_t& size) noexcept {
  stream.piece = std::move(piece);
  text = stream.piece.c_str();
  size = stream.piece.size();
}

}  // namespace
}  // namespace kvcache::c

using namespace kvcache::c;
using kvcache::Tokenizer;

kvcache_status kvcache_tokenizer_load(const char* path, kvcache_tokenizer** tokenizer) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_tokenizer*& made = result(call, tokenizer, "tokenizer");
    made = new_handle<kvcache_tokenizer>(Tokenizer::load(&call.needed(path, "path")));
  });
}

kvcache_status kvcache_tokenizer_from_json(const char* text, size_t size,
                                           kvcache_tokenizer** tokenizer) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_tokenizer*& made = result(call, tokenizer, "tokenizer");
    made = new_handle<kvcache_tokenizer>(Tokenizer::from_json(call.text(text, size, "text")));
  });
}

void kvcache_tokenizer_destroy(kvcache_tokenizer* tokenizer) noexcept { delete tokenizer; }

kvcache_status kvcache_encode_options_init(kvcache_encode_options* options,
                                           size_t struct_size) noexcept {
  return guard(__func__, [&](const Call& call) {
    init_struct(call, options, "options", struct_size, default_encoding());
  });
}

kvcache_status kvcache_decode_options_init(kvcache_decode_options* options,
                                           size_t struct_size) noexcept {
  return guard(__func__, [&](const Call& call) {
    init_struct(call, options, "options", struct_size, default_decoding());
  });
}

kvcache_status kvcache_tokenizer_encode(const kvcache_tokenizer* tokenizer, const char* text,
                                        size_t size, const kvcache_encode_options* options,
                                        int64_t** tokens, size_t* num_tokens) noexcept {
  return guard(__func__, [&](const Call& call) {
    int64_t*& first = result(call, tokens, "tokens");
    std::size_t& count = call.needed(num_tokens, "num_tokens");
    const std::vector<kvcache::TokenId> made =
        to_tokenizer(call, tokenizer)
            .encode(call.text(text, size, "text"), to_options(call, options));
    first = copy_for_caller(std::span<const int64_t>(made));
    count = made.size();
  });
}

kvcache_status kvcache_tokenizer_decode(const kvcache_tokenizer* tokenizer, const int64_t* tokens,
                                        size_t num_tokens, const kvcache_decode_options* options,
                                        char** text, size_t* size) noexcept {
  return guard(__func__, [&](const Call& call) {
    char*& answer = result(call, text, "text");
    std::size_t& answer_size = call.needed(size, "size");
    give_text(to_tokenizer(call, tokenizer)
                  .decode(call.elements(tokens, num_tokens, "tokens"), to_options(call, options)),
              answer, answer_size);
  });
}

kvcache_status kvcache_tokenizer_token_id(const kvcache_tokenizer* tokenizer, const char* token,
                                          size_t size, int64_t* id) noexcept {
  return guard(__func__, [&](const Call& call) {
    int64_t& answer = call.needed(id, "id");
    answer = to_tokenizer(call, tokenizer)
                 .token_id(call.text(token, size, "token"))
                 .value_or(KVCACHE_NO_TOKEN);
  });
}

kvcache_status kvcache_tokenizer_token(const kvcache_tokenizer* tokenizer, int64_t id, char** token,
                                       size_t* size) noexcept {
  return guard(__func__, [&](const Call& call) {
    char*& answer = result(call, token, "token");
    std::size_t& answer_size = call.needed(size, "size");
    give_text(to_tokenizer(call, tokenizer).token(id), answer, answer_size);
  });
}

kvcache_status kvcache_tokenizer_bytes(const kvcache_tokenizer* tokenizer, int64_t id, char** bytes,
                                       size_t* size) noexcept {
  return guard(__func__, [&](const Call& call) {
    char*& answer = result(call, bytes, "bytes");
    std::size_t& answer_size = call.needed(size, "size");
    give_text(to_tokenizer(call, tokenizer).bytes(id), answer, answer_size);
  });
}

kvcache_status kvcache_tokenizer_is_special(const kvcache_tokenizer* tokenizer, int64_t id,
                                            bool* special) noexcept {
  return guard(__func__, [&](const Call& call) {
    bool& answer = call.needed(special, "special");
    answer = to_tokenizer(call, tokenizer).is_special(id);
  });
}

kvcache_status kvcache_tokenizer_vocab_size(const kvcache_tokenizer* tokenizer,
                                            size_t* vocab_size) noexcept {
  return guard(__func__, [&](const Call& call) {
    std::size_t& answer = call.needed(vocab_size, "vocab_size");
    answer = to_tokenizer(call, tokenizer).vocab_size();
  });
}

kvcache_status kvcache_tokenizer_new_text(const kvcache_tokenizer* tokenizer,
                                          const kvcache_decode_options* options,
                                          kvcache_text_stream** stream) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_text_stream*& made = result(call, stream, "stream");
    made = new_handle<kvcache_text_stream>(
        to_tokenizer(call, tokenizer).new_text(to_options(call, options)));
  });
}

void kvcache_text_stream_destroy(kvcache_text_stream* stream) noexcept { delete stream; }

kvcache_status kvcache_text_stream_push(kvcache_text_stream* stream, int64_t token,
                                        const char** text, size_t* size) noexcept {
  return guard(__func__, [&](const Call& call) {
    const char*& answer = result(call, text, "text");
    std::size_t& answer_size = call.needed(size, "size");
    kvcache_text_stream& grows = call.needed(stream, "stream");
    give_piece(grows, grows.stream.push(token), answer, answer_size);
  });
}

kvcache_status kvcache_text_stream_finish(kvcache_text_stream* stream, const char** text,
                                          size_t* size) noexcept {
  return guard(__func__, [&](const Call& call) {
    const char*& answer = result(call, text, "text");
    std::size_t& answer_size = call.needed(size, "size");
    kvcache_text_stream& grows = call.needed(stream, "stream");
    give_piece(grows, grows.stream.finish(), answer, answer_size);
  });
}
