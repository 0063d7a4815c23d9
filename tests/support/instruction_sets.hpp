// Runs a kernel's tests once for each instruction set that this machine has.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "hwy/highway.h"
#include "hwy/targets.h"

namespace kvcache::test {

class OnInstructionSet : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override { select(GetParam()); }
  void TearDown() override { select(0); }

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

inline std::string instruction_set_name(const testing::TestParamInfo<std::int64_t>& info) {
  return hwy::TargetName(info.param);
}

}  // namespace kvcache::test
