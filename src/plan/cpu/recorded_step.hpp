// The decode step of a few tokens without ONNX Runtime: the nodes of a recorded run, run again by
// all threads in lockstep.
//
// Between two nodes of one token, ONNX Runtime and the handing over of tasks took 8 to 12
// microseconds in which nobody read weights: a fifth of a step with weights of int8
// (docs/PERFORMANCE.md).
#pragma once

#include <hwy/aligned_allocator.h>

#include <string>
#include <vector>

#include "base/thread_team.hpp"
#include "plan/cpu/lockstep.hpp"
#include "plan/cpu/recorded_nodes.hpp"

namespace kvcache::plan {

/// The nodes of one run, over the same inputs, cache and logits, whose values may change between
/// steps; what one node hands to another is in memory of its own. Bitwise, the results are those
/// of the recorded run: its nodes call the same kernels.
class RecordedStep {
 public:
  /// Null, and `why_not` says why, where the run cannot be run again so: it has too many tokens, or
  /// nodes that nobody recorded. All memory of the recorded run but what passes between its nodes
  /// must outlive the step.
  /// @throws std::bad_alloc
  static std::unique_ptr<RecordedStep> from(const CpuRecording& recording,
                                            const ThreadTeam& threads, std::string& why_not);

  /// @throws std::bad_alloc, after which the logits and the new keys and values are not there
  void run();

 private:
  struct Node {
    CpuNode args;
    std::vector<Upcoming> upcoming;  // what is read after it
  };

  explicit RecordedStep(const ThreadTeam& threads) : threads_(threads), lockstep_(threads.size()) {}
  void connect(const CpuRecording& recording);
  void look_ahead();

  const ThreadTeam& threads_;
  Lockstep lockstep_;
  std::vector<Node> nodes_;
  std::vector<hwy::AlignedFreeUniquePtr<float[]>> between_;  // outputs of nodes
};

}  // namespace kvcache::plan
