#include "plan/cpu/recorded_step.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "kernels/cpu/cached_attention_cpu.hpp"
#include "kernels/panels.hpp"

namespace kvcache::plan {
namespace {

// What every thread does for itself between two loops grows with the tokens.
constexpr std::int64_t kMostTokens = 5;

class NotRecorded : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void require(bool holds, const char* otherwise) {
  if (!holds) {
    throw NotRecorded(otherwise);
  }
}

/// The nodes of GPT-2's decode step, told by what surrounds their product.
enum class Kind { other, embedding, norm, attention, residual, norm_gelu, head };

template <typename W>
Kind kind_of(const kernels::TokenEmbeddingArgs<W>& /*node*/) {
  return Kind::embedding;
}
template <typename Cache>
Kind kind_of(const kernels::CachedAttentionArgs<float, Cache>& /*node*/) {
  return Kind::attention;
}
template <typename Product>
Kind kind_of(const kernels::NormedProduct<Product>& node) {
  if constexpr (requires { node.product.bias; }) {
    if (node.product.bias != nullptr) {
      return node.norm.weight == nullptr                            ? Kind::residual
             : node.product.activation == kernels::Activation::gelu ? Kind::norm_gelu
                                                                    : Kind::norm;
    }
  }
  return Kind::head;
}
Kind kind_of(std::monostate /*node*/) { return Kind::other; }

/// Nodes of other operators are not recorded, and one that works in place leaves no trace: so only
/// a graph that is known to have none.
void check_order(const std::vector<CpuNode>& nodes) {
  constexpr Kind kLayer[]{Kind::norm, Kind::attention, Kind::residual, Kind::norm_gelu,
                          Kind::residual};
  constexpr std::size_t kLayerNodes = std::size(kLayer);
  const auto kind = [&](std::size_t i) {
    return std::visit([](const auto& node) { return kind_of(node); }, nodes[i]);
  };
  const char* const otherwise = "its nodes are not those of GPT-2 with gelu";
  require(nodes.size() % kLayerNodes == 2 && kind(0) == Kind::embedding &&
              kind(nodes.size() - 1) == Kind::head,
          otherwise);
  for (std::size_t i = 1; i + 1 < nodes.size(); ++i) {
    require(kind(i) == kLayer[(i - 1) % kLayerNodes], otherwise);
  }
}

template <typename... Of>
struct Overloaded : Of... {
  using Of::operator()...;
};
template <typename... Of>
Overloaded(Of...) -> Overloaded<Of...>;

// Of each kind of node: the tokens it reads and writes, as far as they pass between nodes.

template <typename W, typename Visit>
void for_tensors(kernels::TokenEmbeddingArgs<W>& node, const Visit& visit) {
  visit.output(node.out, node.tokens * node.size);
}
template <typename T, typename Visit>
void for_tensors(kernels::CachedAttentionArgs<float, T>& node, const Visit& visit) {
  const std::int64_t tokens = node.row_begin(node.rows);
  visit.input(node.qkv);
  visit.output(node.attention, tokens * node.num_heads * node.head_dim);
}
template <typename Product>
constexpr std::int64_t outputs_of(const Product& product) {
  if constexpr (std::is_same_v<Product, kernels::QuantizedLinearArgs>) {
    return product.weight.outputs;
  } else {
    return product.outputs;
  }
}
template <typename Product, typename Visit>
void for_tensors(kernels::NormedProduct<Product>& node, const Visit& visit) {
  Product& product = node.product;
  visit.input(node.norm.weight != nullptr ? node.norm.x : product.x);
  if constexpr (requires { product.residual; }) {
    if (product.residual != nullptr) {
      visit.input(product.residual);
    }
  }
  visit.output(product.out, product.tokens * outputs_of(product));
}

template <typename T>
std::span<const std::byte> bytes(const T* data, std::int64_t count) {
  return std::as_bytes(std::span(data, static_cast<std::size_t>(count)));
}

template <typename W>
std::span<const std::byte> weight_of(const kernels::LinearArgs<W>& product) {
  const std::int64_t panels = kernels::panel_count(product.outputs);
  return bytes(product.weight, panels * product.inputs * kernels::kPanelColumns);
}
template <typename W>
std::span<const std::byte> weight_of(const kernels::HeadArgs<W>& product) {
  return bytes(product.weight, product.outputs * product.inputs);
}
std::span<const std::byte> weight_of(const kernels::QuantizedLinearArgs& product) {
  return bytes(product.weight.values, product.weight.panels() * product.weight.panel_bytes());
}

}  // namespace

std::unique_ptr<RecordedStep> RecordedStep::from(const CpuRecording& recording,
                                                 const ThreadTeam& threads, std::string& why_not) {
  std::unique_ptr<RecordedStep> step(new RecordedStep(threads));
  try {
    step->connect(recording);
  } catch (const NotRecorded& reason) {
    why_not = reason.what();
    return nullptr;
  }
  step->look_ahead();
  return step;
}

/// Takes over the nodes, with memory of our own in place of what passed between them. ONNX Runtime
/// uses such memory again: an address means what the last node before wrote there.
void RecordedStep::connect(const CpuRecording& recording) {
  struct Connect {
    RecordedStep& step;
    std::map<const float*, float*>& places;
    bool is_last;

    void input(const float*& data) const {
      const auto found = places.find(data);
      require(found != places.end(), "a node reads what no node of ours has written");
      data = found->second;
    }
    void output(float*& data, std::int64_t count) const {
      if (is_last) {
        return;  // the logits
      }
      auto memory = hwy::AllocateAligned<float>(static_cast<std::size_t>(count));
      if (!memory) {
        throw std::bad_alloc();
      }
      places[data] = memory.get();
      data = memory.get();
      step.between_.push_back(std::move(memory));
    }
  };
  std::map<const float*, float*> places;
  check_order(recording.nodes());
  for (const CpuNode& recorded : recording.nodes()) {
    Node& node = nodes_.emplace_back(Node{recorded, {}});
    const Connect visit{*this, places, &recorded == &recording.nodes().back()};
    std::visit(Overloaded{[&]<typename W>(const kernels::TokenEmbeddingArgs<W>& embedding) {
                            require(embedding.tokens <= kMostTokens, "it has too many tokens");
                          },
                          [](const auto&) {}},
               node.args);
    std::visit(Overloaded{[](std::monostate) {}, [&](auto& args) { for_tensors(args, visit); }},
               node.args);
  }
}

/// What to fetch while others finish a node: from the next product on, its norm and its weight.
void RecordedStep::look_ahead() {
  std::vector<Upcoming> upcoming;
  std::for_each(nodes_.rbegin(), nodes_.rend(), [&](Node& node) {
    node.upcoming = upcoming;
    std::visit(Overloaded{[&]<typename Product>(const kernels::NormedProduct<Product>& args) {
                            const kernels::LayerNormArgs& norm = args.norm;
                            upcoming.clear();
                            if (norm.weight != nullptr) {
                              upcoming.push_back({bytes(norm.weight, norm.size), false});
                              upcoming.push_back({bytes(norm.bias, norm.size), false});
                            }
                            upcoming.push_back({weight_of(args.product), true});
                          },
                          [](const auto&) {}},
               node.args);
  });
}

void RecordedStep::run() {
  lockstep_.begin();
  threads_.together([this](int member) {
    LockstepFor loops(lockstep_, member);
    for (const Node& node : nodes_) {
      loops.fetch_while_waiting(node.upcoming);
      std::visit(
          Overloaded{[](std::monostate) {},
                     [&]<typename Cache>(const kernels::CachedAttentionArgs<float, Cache>& args) {
                       kernels::cached_attention_cpu(args, loops);
                     },
                     [&](const auto& args) { kernels::run_node(args, loops); }},
          node.args);
    }
  });
}

}  // namespace kvcache::plan
