#include "text/decoder.hpp"

#include "text/decoder_stages.hpp"

namespace kvcache::text {
namespace {

class LastStage : public DecoderStage {
 public:
  explicit LastStage(std::string& out) : out_(out) {}
  void push(const Fragment& fragment) override { out_ += fragment.text; }
  void finish() override {}

 private:
  std::string& out_;
};

class ReplaceStage : public WholeTokenStage {
 public:
  ReplaceStage(std::unique_ptr<DecoderStage> next, std::shared_ptr<const Replace> replace)
      : WholeTokenStage(std::move(next)), replace_(std::move(replace)) {}

 protected:
  void take(std::string_view token) override { pass_token(replace_->apply(token)); }

 private:
  std::shared_ptr<const Replace> replace_;
};

class FuseStage : public InnerStage {
 public:
  using InnerStage::InnerStage;
  void push(const Fragment& fragment) override {
    pass({fragment.text, begins_, false});
    begins_ = false;
  }

 private:
  bool begins_ = true;
};

/// Strips at the beginning alone, which needs no waiting.
class StripStartStage : public InnerStage {
 public:
  StripStartStage(std::unique_ptr<DecoderStage> next, const StripDecoder& strip)
      : InnerStage(std::move(next)), content_(strip.content), start_(strip.start) {}

  void push(const Fragment& fragment) override {
    if (fragment.begins) {
      left_ = start_;
    }
    std::string_view text = fragment.text;
    while (left_ > 0 && !text.empty()) {
      if (text.starts_with(content_)) {
        text.remove_prefix(content_.size());
        --left_;
      } else {
        left_ = 0;
      }
    }
    pass({text, fragment.begins, fragment.ends});
  }

 private:
  std::string content_;
  std::size_t start_;
  std::size_t left_ = 0;  // of this token's beginning
};

class StripStage : public WholeTokenStage {
 public:
  StripStage(std::unique_ptr<DecoderStage> next, StripDecoder strip)
      : WholeTokenStage(std::move(next)), strip_(std::move(strip)) {}

 protected:
  void take(std::string_view token) override {
    for (std::size_t left = strip_.start; left > 0 && token.starts_with(strip_.content); --left) {
      token.remove_prefix(strip_.content.size());
    }
    for (std::size_t left = strip_.stop; left > 0 && token.ends_with(strip_.content); --left) {
      token.remove_suffix(strip_.content.size());
    }
    pass_token(token);
  }

 private:
  StripDecoder strip_;
};

class MetaspaceStage : public InnerStage {
 public:
  MetaspaceStage(std::unique_ptr<DecoderStage> next, MetaspaceDecoder metaspace)
      : InnerStage(std::move(next)), metaspace_(std::move(metaspace)) {}

  void push(const Fragment& fragment) override {
    tokens_ += fragment.begins ? 1 : 0;
    const bool first = tokens_ <= 1;
    std::string text;
    std::string_view rest = fragment.text;
    while (!rest.empty()) {
      if (!rest.starts_with(metaspace_.replacement)) {
        text += rest.front();
        rest.remove_prefix(1);
        continue;
      }
      if (!(first && metaspace_.prepends)) {
        text += ' ';
      }
      rest.remove_prefix(metaspace_.replacement.size());
    }
    pass({text, fragment.begins, fragment.ends});
  }

 private:
  MetaspaceDecoder metaspace_;
  std::size_t tokens_ = 0;
};

class JoinStage : public InnerStage {
 public:
  using InnerStage::InnerStage;
  void push(const Fragment& fragment) override {
    if (fragment.begins && !first_) {
      pass_token(" ");
    }
    first_ = false;
    pass(fragment);
  }

 private:
  bool first_ = true;
};

/// Puts the stage of a step before those behind it.
struct MakeStage {
  std::unique_ptr<DecoderStage>& next;

  std::unique_ptr<DecoderStage> operator()(const ReplaceDecoder& step) const {
    return std::make_unique<ReplaceStage>(std::move(next), step.replace);
  }
  std::unique_ptr<DecoderStage> operator()(ByteFallbackDecoder /*step*/) const {
    return make_byte_fallback(std::move(next));
  }
  std::unique_ptr<DecoderStage> operator()(FuseDecoder /*step*/) const {
    return std::make_unique<FuseStage>(std::move(next));
  }
  std::unique_ptr<DecoderStage> operator()(const StripDecoder& step) const {
    if (step.stop == 0) {
      return std::make_unique<StripStartStage>(std::move(next), step);
    }
    return std::make_unique<StripStage>(std::move(next), step);
  }
  std::unique_ptr<DecoderStage> operator()(const MetaspaceDecoder& step) const {
    return std::make_unique<MetaspaceStage>(std::move(next), step);
  }
  std::unique_ptr<DecoderStage> operator()(ByteLevelDecoder /*step*/) const {
    return make_byte_level(std::move(next));
  }
  std::unique_ptr<DecoderStage> operator()(JoinDecoder /*step*/) const {
    return std::make_unique<JoinStage>(std::move(next));
  }
};

}  // namespace

std::unique_ptr<DecoderStage> make_stages(const std::vector<DecoderStep>& steps, std::string& out) {
  std::unique_ptr<DecoderStage> first = std::make_unique<LastStage>(out);
  // clang 14 does not compile std::views::reverse of GCC 12's library.
  // NOLINTNEXTLINE(modernize-loop-convert)
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    first = std::visit(MakeStage{first}, *step);
  }
  return first;
}

}  // namespace kvcache::text
