#include "search/tree_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "game/notation.hpp"
#include "game/score.hpp"

namespace trigo {

TreeSearch::TreeSearch(PositionEvaluator& evaluator, const SearchOptions& options,
                       Stopwatch& stopwatch)
    : evaluator_(evaluator),
      options_(options),
      stopwatch_(stopwatch),
      position_(Shape{}),
      walked_(position_) {}

void TreeSearch::start(const Shape& shape, std::uint64_t seed) {
  position_ = Position(shape);
  walked_ = position_;
  random_ = Random(seed);
  root_.reset();
  before_.reset();
  text_ = header_text(shape);
  evaluations_ = 0;
  simulated_ = 0;
  stopwatch_ = {};
}

const SearchNode& TreeSearch::search() {
  if (position_.ended()) {
    throw std::logic_error("a game that has ended is not searched");
  }
  stopwatch_.start();
  evaluate_root();
  root_priors_.clear();
  if (options_.noise > 0) {
    add_noise();
  }
  for (std::size_t i = 0; i < options_.simulations; ++i) {
    simulate();
  }
  evaluator_.rest();
  return *root_;
}

/// What a simulation took for an end by the search's own rule is evaluated where it is the root.
void TreeSearch::evaluate_root() {
  if (root_ == nullptr) {
    auto root = std::make_unique<SearchNode>();
    evaluate(*root, before_.get(), text_, position_);
    root->visits = 1;
    root->total = root->value;
    root_ = std::move(root);
    before_.reset();
    text_.clear();
  }
  if (root_->edges.empty()) {
    expand(*root_, position_);
  }
}

void TreeSearch::simulate() {
  path_.clear();
  walked_moves_ = 0;
  SearchNode* node = root_.get();
  Colour colour = position_.to_move();
  while (!node->end) {
    if (node->edges.empty()) {
      stopwatch_.lap(Part::tree);
      walk();
      expand(*node, walked_);
    }
    SearchEdge& edge = choose(*node, colour);
    path_.push_back(&edge);
    if (edge.child == nullptr) {
      stopwatch_.lap(Part::tree);
      walk();
      add_child(*node, edge);
      break;
    }
    node = edge.child.get();
    colour = opponent(colour);
  }

  const double value = path_.back()->child->value;
  root_->visits += 1;
  root_->total += value;
  for (SearchEdge* edge : path_) {
    edge->visits += 1;
    edge->total += value;
    edge->child->visits += 1;
    edge->child->total += value;
  }
  ++simulated_;
  stopwatch_.lap(Part::tree);
}

void TreeSearch::walk() {
  if (walked_moves_ == 0) {
    walked_ = position_;
  }
  for (; walked_moves_ < path_.size(); ++walked_moves_) {
    walked_.play(path_[walked_moves_]->move);
  }
  stopwatch_.lap(Part::rules);
}

/// The position of walked_, behind the edge.
void TreeSearch::add_child(const SearchNode& node, SearchEdge& edge) {
  auto child = std::make_unique<SearchNode>();
  const Board& board = walked_.board();
  if (walked_.ended() || is_settled(board)) {
    child->end = true;
    child->value = end_value(area(board).difference(), board.geometry().points());
    stopwatch_.lap(Part::rules);
  } else {
    stopwatch_.lap(Part::rules);
    const std::string text = appended_text(walked_.shape(), walked_.moves() - 1, edge.move);
    stopwatch_.lap(Part::text);
    evaluate(*child, node.kept.get(), text, walked_);
  }
  edge.child = std::move(child);
}

void TreeSearch::evaluate(SearchNode& node, const KeptPosition* before, std::string_view text,
                          const Position& position) {
  const bool value_alone = evaluator_.priors_when_needed();
  moves_.clear();
  if (!value_alone) {
    position.legal_moves(moves_);
  }
  stopwatch_.lap(Part::rules);
  Evaluation evaluation = evaluator_.evaluate(before, text, position, moves_, stopwatch_);
  ++evaluations_;
  node.value = evaluation.value;
  node.kept = std::move(evaluation.kept);
  node.cost = evaluation.cost;
  if (!value_alone) {
    add_edges(node, evaluation.priors);
  }
}

void TreeSearch::expand(SearchNode& node, const Position& position) {
  position.legal_moves(moves_);
  stopwatch_.lap(Part::rules);
  add_edges(node, evaluator_.priors(*node.kept, position, moves_, node.cost, stopwatch_));
}

/// One for each of moves_.
void TreeSearch::add_edges(SearchNode& node, std::span<const float> priors) const {
  node.edges.resize(moves_.size());
  for (std::size_t i = 0; i < moves_.size(); ++i) {
    node.edges[i].move = moves_[i];
    node.edges[i].prior = priors[i];
  }
}

SearchEdge& TreeSearch::choose(SearchNode& node, Colour colour) const {
  const double sign = colour == Colour::white ? 1 : -1;
  const bool is_root = &node == root_.get() && !root_priors_.empty();
  double visited = 0;
  for (const SearchEdge& edge : node.edges) {
    visited += edge.visits > 0 ? edge.prior : 0;
  }
  const double unknown = sign * node.mean() - options_.first_play_reduction * std::sqrt(visited);
  const double spread = options_.exploration * std::sqrt(node.visits);
  const double logarithm = std::log(node.visits);
  SearchEdge* best = nullptr;
  double best_score = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < node.edges.size(); ++i) {
    SearchEdge& edge = node.edges[i];
    double score = 0;
    if (options_.selection == Selection::uct) {
      score = edge.visits == 0 ? std::numeric_limits<double>::max()
                               : sign * edge.total / edge.visits +
                                     options_.exploration * std::sqrt(logarithm / edge.visits);
    } else {
      const double prior = is_root ? root_priors_[i] : edge.prior;
      score = (edge.visits == 0 ? unknown : sign * edge.total / edge.visits) +
              spread * prior / (1 + edge.visits);
    }
    if (score > best_score) {
      best = &edge;
      best_score = score;
    }
  }
  return *best;
}

void TreeSearch::add_noise() {
  const std::size_t count = root_->edges.size();
  const double concentration = options_.noise_concentration > 0 ? options_.noise_concentration
                                                                : 10.0 / static_cast<double>(count);
  std::vector<double> noise(count);
  double sum = 0;
  for (double& part : noise) {
    part = random_.gamma(concentration);
    sum += part;
  }
  for (std::size_t i = 0; i < count; ++i) {
    root_priors_.push_back(static_cast<float>((1 - options_.noise) * root_->edges[i].prior +
                                              options_.noise * noise[i] / sum));
  }
}

void TreeSearch::play(Move move) {
  stopwatch_.start();
  const std::string text = appended_text(position_.shape(), position_.moves(), move);
  stopwatch_.lap(Part::text);
  std::unique_ptr<SearchNode> next;
  if (root_ != nullptr) {
    const auto edge = std::ranges::find(root_->edges, move, &SearchEdge::move);
    if (edge != root_->edges.end()) {
      next = std::move(edge->child);
    }
    if (next == nullptr || next->end) {  // an end was not evaluated; now it may have to be
      next.reset();
      before_ = std::move(root_->kept);
    }
  }
  if (next == nullptr) {
    text_ += text;
  }
  root_ = std::move(next);
  stopwatch_.lap(Part::tree);
  position_.play(move);
  stopwatch_.lap(Part::rules);
}

}  // namespace trigo
