#include "kvcache/generate.hpp"

#include <utility>

#include "base/throw_error.hpp"
#include "decoding/after_prompt.hpp"
#include "decoding/continuation.hpp"
#include "kvcache/batch.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

using decoding::Continuation;
using decoding::copy_of;

/// Draws a token and tells of it.
void draw(Continuation& text, const Logits& logits, const NewTokenCallback& on_token) {
  const std::string_view grown = text.draw(logits, logits.rows() - 1);
  if (on_token && !on_token({text.sample(), text.last_token(), grown})) {
    text.cancel();
  }
}

/// `AnySequence` is a Sequence or a WindowedSequence; `logits` follow its last token.
template <typename AnySequence>
Generated go_on(AnySequence& sequence, Logits logits, Continuation text,
                const NewTokenCallback& on_token) {
  while (true) {
    draw(text, logits, on_token);
    if (text.finished()) {
      return text.take();
    }
    const TokenId token = text.last_token();
    logits = sequence.extend({&token, 1});
  }
}

/// A text of several, on a fork of its own.
struct Row {
  Sequence sequence;
  Continuation text;
  TokenId token = 0;  // the last one drawn, which the next run takes
};

std::vector<Row> fork_rows(const Sequence& sequence, std::span<const TokenId> prompt,
                           std::size_t count, const GenerateOptions& options) try {
  std::vector<Row> rows;
  for (std::size_t sample = 0; sample < count; ++sample) {
    rows.push_back({sequence.fork(), Continuation(options, prompt, sequence.length(), sample)});
  }
  return rows;
} catch (...) {
  rethrow_as_error(kRun);
}

/// Those that go on; what the others held is given back.
std::vector<Row*> running_of(std::vector<Row>& rows) try {
  std::vector<Row*> running;
  for (Row& row : rows) {
    if (row.text.finished()) {
      row.sequence.reset();
    } else {
      row.token = row.text.last_token();
      running.push_back(&row);
    }
  }
  return running;
} catch (...) {
  rethrow_as_error(kRun);
}

std::vector<Extension> extensions_of(const std::vector<Row*>& rows) try {
  std::vector<Extension> batch;
  batch.reserve(rows.size());
  for (Row* row : rows) {
    batch.push_back({&row->sequence, {&row->token, 1}});
  }
  return batch;
} catch (...) {
  rethrow_as_error(kRun);
}

std::vector<Generated> taken_from(std::vector<Row>& rows) try {
  std::vector<Generated> texts;
  texts.reserve(rows.size());
  for (Row& row : rows) {
    texts.push_back(row.text.take());
  }
  return texts;
} catch (...) {
  rethrow_as_error(kRun);
}

/// Each run is of one token of every text that goes on.
std::vector<Generated> go_on(std::vector<Row> rows, const Logits& first,
                             const NewTokenCallback& on_token) {
  for (Row& row : rows) {
    draw(row.text, first, on_token);
  }
  while (true) {
    const std::vector<Row*> running = running_of(rows);
    if (running.empty()) {
      return taken_from(rows);
    }
    const std::vector<Logits> logits = extend(extensions_of(running));
    for (std::size_t i = 0; i < running.size(); ++i) {
      draw(running[i]->text, logits[i], on_token);
    }
  }
}

}  // namespace

std::string_view finish_reason_name(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::length:
      return "length";
    case FinishReason::stop_token:
      return "stop_token";
    case FinishReason::stop_string:
      return "stop_string";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::complete:
      return "complete";
  }
  return "";
}

Generated generate(Sequence& sequence, std::span<const TokenId> prompt,
                   const GenerateOptions& options, const NewTokenCallback& on_token) {
  if (options.max_new_tokens == 0) {
    return {};
  }
  return decoding::after_prompt(
      sequence, prompt, options, [&](Logits logits, std::span<const TokenId> text) {
        return go_on(sequence, std::move(logits), Continuation(options, text, text.size(), 0),
                     on_token);
      });
}

Generated generate(WindowedSequence& sequence, std::span<const TokenId> prompt,
                   const GenerateOptions& options, const NewTokenCallback& on_token) {
  if (options.max_new_tokens == 0) {
    return {};
  }
  decoding::check_request(options);
  Logits logits = sequence.extend(prompt);
  decoding::check_stop_tokens(options.stop_tokens, logits.vocab_size());
  decoding::check_vocabulary(options.constraint, logits.vocab_size());
  const std::vector<TokenId> text = copy_of(sequence.context().tokens());
  return go_on(sequence, std::move(logits), Continuation(options, text, sequence.length(), 0),
               on_token);
}

std::vector<Generated> generate_samples(Sequence& sequence, std::span<const TokenId> prompt,
                                        std::size_t count, const GenerateOptions& options,
                                        const NewTokenCallback& on_token) {
  if (count == 0) {
    throw_error(ErrorCode::invalid_argument,
                "no text was asked for (a count of 0), must be at least 1");
  }
  if (options.max_new_tokens == 0) {
    return std::vector<Generated>(count);
  }
  return decoding::after_prompt(
      sequence, prompt, options, [&](const Logits& logits, std::span<const TokenId> text) {
        return go_on(fork_rows(sequence, text, count, options), logits, on_token);
      });
}

}  // namespace kvcache
