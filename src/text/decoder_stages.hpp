// What the stages of a decoder have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "text/decoder.hpp"

namespace kvcache::text {

/// A stage that has another behind it.
class InnerStage : public DecoderStage {
 public:
  explicit InnerStage(std::unique_ptr<DecoderStage> next) : next_(std::move(next)) {}
  void finish() override { next_->finish(); }

 protected:
  void pass(const Fragment& fragment) { next_->push(fragment); }
  void pass_token(std::string_view token) { next_->push({token, true, true}); }

 private:
  std::unique_ptr<DecoderStage> next_;
};

/// A stage that must see a token whole: what is fused before it waits until all ends.
class WholeTokenStage : public InnerStage {
 public:
  using InnerStage::InnerStage;

  void push(const Fragment& fragment) final {
    if (fragment.begins && fragment.ends) {
      take(fragment.text);
      return;
    }
    waiting_ += fragment.text;
    waits_ = !fragment.ends;
    if (fragment.ends) {
      release();
    }
  }
  void finish() final {
    if (waits_) {
      release();
    }
    end();
    InnerStage::finish();
  }

 protected:
  virtual void take(std::string_view token) = 0;
  /// There is no more token.
  virtual void end() {}

 private:
  void release() {
    const std::string token = std::move(waiting_);
    waiting_.clear();
    waits_ = false;
    take(token);
  }

  std::string waiting_;
  bool waits_ = false;
};

/// The byte of a token such as <0x0A>; nothing of all others. The reference takes <0x+A> too.
std::optional<std::uint8_t> byte_of_token(std::string_view token) noexcept;

std::unique_ptr<DecoderStage> make_byte_fallback(std::unique_ptr<DecoderStage> next);
std::unique_ptr<DecoderStage> make_byte_level(std::unique_ptr<DecoderStage> next);

}  // namespace kvcache::text
