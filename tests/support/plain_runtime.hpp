// The oracle: a model file in plain ONNX Runtime, nothing of ours registered.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>
#include <span>
#include <vector>

#include "support/models.hpp"

namespace kvcache::test {

/// A model of float32, run over whole texts.
class PlainRuntime {
 public:
  PlainRuntime(const fs::path& model, const ModelInfo& info);

  /// Of all tokens, [text, vocab_size].
  std::vector<float> logits(std::span<const TokenId> text);

 private:
  std::shared_ptr<Ort::Env> env_;
  Ort::Session session_;
  ModelInfo info_;
};

}  // namespace kvcache::test
