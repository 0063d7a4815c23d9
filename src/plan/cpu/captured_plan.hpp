// The step of a few tokens without ONNX Runtime: the operations of a plan, bound to one run's
// memory and run by all threads in lockstep.
//
// Between two nodes of one token, ONNX Runtime and the handing over of tasks took 8 to 12
// microseconds in which nobody read weights: a fifth of a step with weights of int8
// (docs/PERFORMANCE.md).
#pragma once

#include <hwy/aligned_allocator.h>

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/thread_pool.hpp"
#include "kernels/cached_attention_args.hpp"
#include "plan/cpu/lockstep.hpp"
#include "plan/node_weights.hpp"
#include "plan/plan.hpp"
#include "plan/step_binding.hpp"

namespace kvcache::plan {

/// Runs again and again what the session would run over the same binding. Bitwise, the results are
/// those of the session: its nodes call the same kernels.
class CapturedPlan {
 public:
  /// Null, and `why_not` says why, where a plan cannot be run so: it has too many tokens, or an
  /// operation without a kernel. What the weights and the binding point to must outlive it.
  /// @throws std::bad_alloc
  static std::unique_ptr<CapturedPlan> make(const Plan& plan, const NodeWeights& weights,
                                            const StepBinding& binding, const ThreadPool& threads,
                                            std::string& why_not);

  /// @throws std::bad_alloc, after which the logits and the new keys and values are not there
  void run();

 private:
  struct Embedding {
    kernels::Embedding embedding;
    kernels::EmbeddingRun run;
  };
  struct ValueHead {
    kernels::ValueHead head;
    kernels::ValueHeadRun run;
  };
  struct Product {
    kernels::Product product;
    kernels::ProductRun run;
  };
  using Attention = std::variant<kernels::CachedAttentionArgs<float>,
                                 kernels::CachedAttentionArgs<float, Float16>,
                                 kernels::CachedAttentionArgs<float, BFloat16>,
                                 kernels::CachedAttentionArgs<float, std::int8_t>>;
  struct Operation {
    std::variant<Embedding, Product, Attention, kernels::TokenNormArgs, ValueHead> what;
    std::vector<Upcoming> upcoming;  // what is read after it
  };
  class Binder;

  explicit CapturedPlan(const ThreadPool& threads) : threads_(threads), lockstep_(threads.size()) {}
  void plan_prefetches();
  static void run(const Operation& operation, const ParallelFor& loops);

  const ThreadPool& threads_;
  Lockstep lockstep_;
  std::vector<Operation> operations_;
  std::vector<hwy::AlignedFreeUniquePtr<float[]>> buffers_;  // but for the logits
};

}  // namespace kvcache::plan
