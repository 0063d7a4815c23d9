// The oracle: the same model file in plain ONNX Runtime, nothing of ours registered.
#include "support/plain_runtime.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

TEST(PlainRuntime, RunsTheSameFileToTheSameLogits) {
  if (test::models_dtype() != "float32") {
    GTEST_SKIP() << "plain ONNX Runtime is compared in float32";
  }
  for (const std::string& name : test::golden_names()) {
    SCOPED_TRACE(name);
    const Model model = Model::load(test::model_path(name));
    test::PlainRuntime plain(test::model_path(name), model.info());
    test::for_random_cases(3, [&](test::Random& random) {
      const std::vector<TokenId> tokens = test::random_tokens(random, model.info(), 30);
      const std::vector<float> expected = plain.logits(tokens);
      Sequence sequence = model.new_sequence();
      const Logits logits = sequence.extend(tokens, LogitsFor::all);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        test::expect_close(logits.row(i), std::span(expected).subspan(i * logits.vocab_size(),
                                                                      logits.vocab_size()));
      }
    });
  }
}

}  // namespace
}  // namespace kvcache
