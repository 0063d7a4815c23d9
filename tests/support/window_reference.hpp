// What a window that keeps its keys and values must give: docs/WINDOW.md, followed to the letter.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvcache/windowed_sequence.hpp"
#include "support/models.hpp"

namespace kvcache::test {

/// The model file in plain ONNX Runtime, over a text that is there as a whole: the keys and values
/// of every token that ever came are kept, and each token attends to those that the definition
/// names for its layer, gathered anew for it. Nothing of the library but the options is used.
class WindowReference {
 public:
  WindowReference(const fs::path& model, const ModelInfo& info, const WindowOptions& options);

  /// The logits that follow `token` at the text's end.
  std::vector<float> append(TokenId token);

  /// The tokens that the last one saw, itself included.
  [[nodiscard]] std::vector<TokenId> context() const;

  [[nodiscard]] std::uint64_t slides() const { return slides_; }
  [[nodiscard]] std::uint64_t times_begun_anew() const { return times_begun_anew_; }

 private:
  void slide();
  std::vector<float> run(TokenId token);
  std::vector<float> gather(std::size_t pool, std::span<const std::size_t> tokens) const;

  std::shared_ptr<Ort::Env> env_;
  Ort::Session session_;
  const ModelInfo& info_;
  WindowOptions options_;
  std::vector<std::size_t> layer_windows_;  // 0: none
  std::vector<TokenId> text_;
  std::vector<std::size_t> kept_;  // indices into the text
  // Of keys and values of each layer, by token: [num_kv_heads, vector].
  std::vector<std::vector<std::vector<float>>> pools_;
  std::uint64_t slides_ = 0;
  std::uint64_t times_begun_anew_ = 0;
};

}  // namespace kvcache::test
