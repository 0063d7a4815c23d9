// Runs a kernel's tests once for each instruction set that this machine has.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "hwy/highway.h"
#include "hwy/targets.h"
#include "kernels/cpu/amx.hpp"

namespace kvcache::test {

/// The best of Highway's targets, without the tiles that kernels ask the processor for themselves.
inline constexpr std::int64_t kWithoutAmx = -1;

class OnInstructionSet : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override {
    const bool without_amx = GetParam() == kWithoutAmx;
    select(without_amx ? 0 : GetParam());
    kernels::allow_amx(!without_amx);
  }
  void TearDown() override {
    select(0);
    kernels::allow_amx(true);
  }

 private:
  /// 0: the best one, as usual.
  static void select(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

inline auto all_instruction_sets() {
  return testing::ValuesIn(hwy::SupportedAndGeneratedTargets());
}

/// `targets`, and where the processor has AMX, the best one without.
inline auto with_and_without_amx(std::vector<std::int64_t> targets) {
  if (kernels::has_amx()) {
    targets.push_back(kWithoutAmx);
  }
  return testing::ValuesIn(targets);
}

inline std::string instruction_set_name(const testing::TestParamInfo<std::int64_t>& info) {
  return info.param == kWithoutAmx ? "WithoutAmx" : hwy::TargetName(info.param);
}

}  // namespace kvcache::test
