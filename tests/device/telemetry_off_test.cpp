#include "device/telemetry_off.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

namespace kvcache::device {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

class TelemetryOffTest : public testing::Test {
 protected:
  void SetUp() override {
    before_ = variable("ORT_DISABLE_TELEMETRY");
    ::unsetenv("ORT_DISABLE_TELEMETRY");  // NOLINT(concurrency-mt-unsafe)
  }
  void TearDown() override {
    if (before_) {
      ::setenv("ORT_DISABLE_TELEMETRY", before_->c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    }
  }

 private:
  std::optional<std::string> before_;
};

TEST_F(TelemetryOffTest, IsInTheEnvironmentAsLongAsItIsThere) {
  char** const table = environ;
  const auto path = variable("PATH");
  {
    const TelemetryOff off;
    EXPECT_EQ(variable("ORT_DISABLE_TELEMETRY"), "1");
    EXPECT_EQ(variable("PATH"), path);
  }
  EXPECT_EQ(variable("ORT_DISABLE_TELEMETRY"), std::nullopt);
  EXPECT_EQ(environ, table);
}

TEST_F(TelemetryOffTest, LeavesAValueOfTheHosts) {
  ::setenv("ORT_DISABLE_TELEMETRY", "0", 1);  // NOLINT(concurrency-mt-unsafe)
  {
    const TelemetryOff off;
    EXPECT_EQ(variable("ORT_DISABLE_TELEMETRY"), "0");
  }
  EXPECT_EQ(variable("ORT_DISABLE_TELEMETRY"), "0");
  ::unsetenv("ORT_DISABLE_TELEMETRY");  // NOLINT(concurrency-mt-unsafe)
}

TEST_F(TelemetryOffTest, KeepsWhatTheHostSetsMeanwhile) {
  {
    const TelemetryOff off;
    ::setenv("KVCACHE_TEST_MEANWHILE", "yes", 1);  // NOLINT(concurrency-mt-unsafe)
  }
  EXPECT_EQ(variable("KVCACHE_TEST_MEANWHILE"), "yes");
  EXPECT_EQ(variable("ORT_DISABLE_TELEMETRY"), std::nullopt);
  ::unsetenv("KVCACHE_TEST_MEANWHILE");  // NOLINT(concurrency-mt-unsafe)
}

TEST_F(TelemetryOffTest, OtherThreadsMayReadMeanwhile) {
  const auto path = variable("PATH");
  std::atomic<bool> ended = false;
  std::atomic<int> wrong = 0;
  std::thread reader([&] {
    while (!ended) {
      wrong += variable("PATH") != path ? 1 : 0;
    }
  });
  for (int i = 0; i < 1000; ++i) {
    const TelemetryOff off;
  }
  ended = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace kvcache::device
