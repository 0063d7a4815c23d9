// A program that embeds the library may fork.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "support/models.hpp"

namespace kvcache {
namespace {

// As official builds of ONNX Runtime 1.29 and later did, with their telemetry's threads.
TEST(Fork, AChildThatTouchesNothingCanExit) {
  const Model model = Model::load(test::model_path(test::golden_names().front()));
  EXPECT_EXIT(
      {
        ::alarm(20);
        std::exit(0);  // NOLINT(concurrency-mt-unsafe): with static destructors
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace kvcache
