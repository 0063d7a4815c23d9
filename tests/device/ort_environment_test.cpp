#include "device/ort_environment.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "kvcache/error.hpp"

namespace kvcache::device {
namespace {

std::weak_ptr<Ort::Env> environment_seen;

/// Registered before a provider's library is loaded, a handler of exit() runs after that library's
/// static objects have been destroyed.
void expect_environment_gone() {
  if (!environment_seen.expired()) {
    std::_Exit(1);
  }
}

class OrtEnvironmentDeathTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }  // a new process
};

TEST_F(OrtEnvironmentDeathTest, GoesBeforeTheStaticObjectsOfAProvider) {
  EXPECT_EXIT(
      {
        environment_seen = ort_environment();
        std::atexit(&expect_environment_gone);
        destroy_environment_before_provider();
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(OrtEnvironmentDeathTest, StaysForASessionThatOutlivesMain) {
  EXPECT_EXIT(
      {
        static std::shared_ptr<Ort::Env> of_a_session;
        of_a_session = ort_environment();
        destroy_environment_before_provider();
        std::atexit([] { std::_Exit(of_a_session.use_count() == 2 ? 0 : 1); });
        std::exit(2);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(OrtEnvironmentDeathTest, IsRefusedOnceItHasGone) {
  EXPECT_EXIT(
      {
        std::atexit([] {
          try {
            ort_environment();
            std::_Exit(1);
          } catch (const Error& error) {
            std::_Exit(error.code() == ErrorCode::device_unavailable ? 0 : 2);
          }
        });
        ort_environment();
        destroy_environment_before_provider();
        std::exit(3);
      },
      testing::ExitedWithCode(0), "");
}

TEST(OrtEnvironment, IsOneForTheProcess) { EXPECT_EQ(ort_environment(), ort_environment()); }

}  // namespace
}  // namespace kvcache::device
