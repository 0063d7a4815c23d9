#include "device/cpu/session_threads.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <system_error>

#include "device/ort_environment.hpp"
#include "support/faults.hpp"
#include "support/models.hpp"
#include "support/threads.hpp"

namespace kvcache::device {
namespace {

using test::expect_threads;
using test::threads_of_process;

TEST(SessionThreads, EndWhereNobodyTookThem) {
  const std::ptrdiff_t before = threads_of_process();
  {
    const SessionThreads threads(4);
    expect_threads(before + 3);
  }
  expect_threads(before);
}

TEST(SessionThreads, ArePoolOfASession) {
  if (test::models_dtype() == "bfloat16") {
    GTEST_SKIP() << "ONNX Runtime has no bfloat16 kernels on the CPU";
  }
  const std::ptrdiff_t before = threads_of_process();
  {
    const auto environment = ort_environment(false);
    SessionThreads threads(4);
    Ort::SessionOptions options;
    threads.add_to(options);
    const std::filesystem::path graph = test::model_path("plain") / "gpt2_with_cache.onnx";
    const Ort::Session session(*environment, graph.c_str(), options);
    expect_threads(before + 3);  // and none of its own
  }
  expect_threads(before);
}

TEST(SessionThreads, NoneIsLeftWhereOneIsRefused) {
  if (!test::kFaultsCanBeInjected) {
    GTEST_SKIP() << "the thread sanitiser takes the same functions";
  }
  const std::ptrdiff_t before = threads_of_process();
  for (std::uint64_t n = 1; n <= 3; ++n) {
    const test::Fault fault(test::Faulty::thread, n);
    EXPECT_THROW(SessionThreads(4), std::system_error) << n;
  }
  expect_threads(before);
}

}  // namespace
}  // namespace kvcache::device
