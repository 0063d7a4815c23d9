#include "plan/cpu/captured_plan.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <utility>

#include "kernels/cpu/cached_attention_cpu.hpp"

namespace kvcache::plan {
namespace {

// A search's runs are captured, a prefill's are not: it keeps the session busy with arithmetic.
constexpr std::int64_t kMostTokens = 64;

class NotCaptured : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Of>
struct Overloaded : Of... {
  using Of::operator()...;
};
template <typename... Of>
Overloaded(Of...) -> Overloaded<Of...>;

/// The weights of a node.
template <typename Weights>
const Weights& find(const std::map<std::string, Weights>& weights, const std::string& node) {
  const auto found = weights.find(node);
  if (found == weights.end()) {
    throw NotCaptured("the graph has no node " + node + " of ours");
  }
  return found->second;
}

}  // namespace

/// Gives each operation its weights, and the memory that it reads and writes.
class CapturedPlan::Binder {
 public:
  Binder(CapturedPlan& captured, const Plan& plan, const NodeWeights& weights,
         const StepBinding& binding)
      : captured_(captured), weights_(weights), binding_(binding) {
    if (binding.tokens > kMostTokens) {
      throw NotCaptured("it has too many tokens");
    }
    for (std::size_t buffer = 0; buffer + 1 < plan.widths.size(); ++buffer) {
      const auto floats = static_cast<std::size_t>(binding.tokens) * plan.widths[buffer];
      auto memory = hwy::AllocateAligned<float>(floats);
      if (!memory) {
        throw std::bad_alloc();
      }
      places_.push_back(memory.get());
      captured.buffers_.push_back(std::move(memory));
    }
    places_.push_back(reinterpret_cast<float*>(binding.logits));
    for (const plan::Operation& operation : plan.operations) {
      std::visit([&](const auto& what) { bind(operation.node, what); }, operation.what);
    }
  }

 private:
  void add(const decltype(Operation::what)& what) { captured_.operations_.push_back({what, {}}); }

  void bind(const std::string& node, const Embed& embed) {
    add(Embedding{find(weights_.embeddings, node),
                  {.input_ids = binding_.input_ids,
                   .position_ids = binding_.position_ids,
                   .out = places_[embed.out],
                   .tokens = binding_.tokens}});
  }

  void bind(const std::string& node, const Multiply& multiply) {
    kernels::ProductRun run{.x = places_[multiply.x],
                            .residual = multiply.residual ? places_[*multiply.residual] : nullptr,
                            .out = places_[multiply.out],
                            .tokens = binding_.tokens};
    if (multiply.selects) {
      select(run);
    }
    add(Product{find(weights_.products, node), run});
  }

  void bind(const std::string& node, const Attend& attend) {
    const kernels::AttentionRules& rules = find(weights_.attentions, node);
    switch (binding_.cache_type) {
      case DataType::float32:
        return add(attention_over<float>(attend, rules));
      case DataType::float16:
        return add(attention_over<Float16>(attend, rules));
      case DataType::bfloat16:
        return add(attention_over<BFloat16>(attend, rules));
      case DataType::int8:
        return add(attention_over<std::int8_t>(attend, rules));
    }
  }

  template <typename Cache>
  Attention attention_over(const Attend& attend, const kernels::AttentionRules& rules) const {
    return kernels::CachedAttentionArgs<float, Cache>{
        .qkv = places_[attend.qkv],
        .key_pool = reinterpret_cast<Cache*>(binding_.pools[2 * attend.layer]),
        .value_pool = reinterpret_cast<Cache*>(binding_.pools[2 * attend.layer + 1]),
        .block_table = binding_.block_table + static_cast<std::int64_t>(attend.group) *
                                                  binding_.rows * binding_.blocks_per_row,
        .past_lengths = binding_.past_lengths,
        .append_positions = binding_.append_positions,
        .row_offsets = binding_.row_offsets,
        .tree_parents = binding_.tree_parents,
        .position_ids = binding_.position_ids,
        .attention = places_[attend.out],
        .rows = binding_.rows,
        .tokens_per_row = binding_.tokens,
        .blocks_per_row = binding_.blocks_per_row,
        .num_heads = static_cast<std::int64_t>(attend.num_heads),
        .num_kv_heads = static_cast<std::int64_t>(attend.num_kv_heads),
        .head_dim = static_cast<std::int64_t>(attend.head_dim),
        .block_len = binding_.block_len,
        .scale = attend.scale,
        .rules = rules};
  }

  void bind(const std::string& node, const Normalize& normalize) {
    kernels::TokenNormArgs args = find(weights_.norms, node);
    args.x = places_[normalize.x];
    args.out = reinterpret_cast<float*>(binding_.outputs[normalize.output]);
    select(args);
    add(args);
  }

  void bind(const std::string& node, const Value& value) {
    kernels::ValueHeadRun run;
    run.x = places_[value.x];
    run.out = reinterpret_cast<float*>(binding_.outputs[value.output]);
    select(run);
    add(ValueHead{find(weights_.value_heads, node), run});
  }

  /// Makes a run one of the tokens whose logits are asked for.
  template <typename Run>
  void select(Run& run) const {
    run.tokens = binding_.num_logits;
    if (binding_.logits_positions != nullptr) {
      run.selected = binding_.logits_positions;
      run.selected_count = binding_.num_logits;
      run.batch_tokens = binding_.tokens;
    }
  }

  void bind(const std::string& /*node*/, const Compute& compute) {
    throw NotCaptured("there is no kernel for the output " + compute.output);
  }

  void bind(const std::string& /*node*/, const Activate& activate) {
    throw NotCaptured("there is no kernel for the activation function " + activate.activation);
  }

  CapturedPlan& captured_;
  const NodeWeights& weights_;
  const StepBinding& binding_;
  std::vector<float*> places_;  // of the buffers
};

std::unique_ptr<CapturedPlan> CapturedPlan::make(const Plan& plan, const NodeWeights& weights,
                                                 const StepBinding& binding,
                                                 const ThreadPool& threads, std::string& why_not) {
  std::unique_ptr<CapturedPlan> captured(new CapturedPlan(threads));
  try {
    Binder(*captured, plan, weights, binding);
  } catch (const NotCaptured& reason) {
    why_not = reason.what();
    return nullptr;
  }
  captured->plan_prefetches();
  return captured;
}

/// What to fetch while others finish an operation: from the next product on, its norm and weight.
void CapturedPlan::plan_prefetches() {
  std::vector<Upcoming> upcoming;
  std::for_each(operations_.rbegin(), operations_.rend(), [&](Operation& operation) {
    operation.upcoming = upcoming;
    if (const auto* of = std::get_if<Product>(&operation.what)) {
      const kernels::Product& product = of->product;
      const auto bytes = [&](const float* vector) {
        return std::as_bytes(std::span(vector, static_cast<std::size_t>(product.inputs)));
      };
      upcoming.clear();
      if (product.norm_weight != nullptr) {
        upcoming.push_back({bytes(product.norm_weight), false});
        if (product.norm_bias != nullptr) {
          upcoming.push_back({bytes(product.norm_bias), false});
        }
      }
      upcoming.push_back({kernels::weight_bytes(product), true});
    }
  });
}

void CapturedPlan::run() {
  if (threads_.size() == 1) {  // nobody to share loops with
    for (const Operation& operation : operations_) {
      run(operation, Alone());
    }
    return;
  }
  lockstep_.begin();
  threads_.together([this](int member) {
    LockstepFor loops(lockstep_, member);
    for (const Operation& operation : operations_) {
      loops.prefetch_while_waiting(operation.upcoming);
      run(operation, loops);
    }
  });
}

void CapturedPlan::run(const Operation& operation, const ParallelFor& loops) {
  std::visit(
      Overloaded{[&](const Embedding& of) { kernels::embedding_cpu(of.embedding, of.run, loops); },
                 [&](const Product& of) { kernels::product_cpu(of.product, of.run, loops); },
                 [&](const kernels::TokenNormArgs& of) { kernels::norm_cpu(of, loops); },
                 [&](const ValueHead& of) { kernels::value_head_cpu(of.head, of.run, loops); },
                 [&](const Attention& of) {
                   std::visit([&](const auto& args) { kernels::cached_attention_cpu(args, loops); },
                              of);
                 }},
      operation.what);
}

}  // namespace kvcache::plan
