#include "text/merges.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <queue>

namespace kvcache::text {
namespace {

constexpr std::size_t kFew = 48;  // up to here, looking through all is faster than a heap
constexpr std::size_t kFirstSlots = 1024;
constexpr std::int32_t kNoRule = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

/// A token of a word and its neighbours, while the word is merged.
struct Symbol {
  Id id;
  bool gone;
  std::size_t previous;
  std::size_t next;
};

struct Candidate {
  std::int32_t rank;
  Id merged;
  std::size_t place;  // of the left one

  bool operator>(const Candidate& other) const noexcept {
    return rank != other.rank ? rank > other.rank : place > other.place;
  }
};

}  // namespace

void Merges::add(Id left, Id right, Merge merge) {
  if (2 * (size_ + 1) > slots_.size()) {
    grow();
  }
  const std::uint64_t pair = key(left, right);
  std::size_t place = place_of(pair);
  while (slots_[place].pair != kFree && slots_[place].pair != pair) {
    place = (place + 1) & (slots_.size() - 1);
  }
  size_ += slots_[place].pair == kFree ? 1 : 0;
  slots_[place] = {pair, merge};
}

void Merges::grow() {
  std::vector<Slot> old(slots_.empty() ? kFirstSlots : 2 * slots_.size());
  std::swap(old, slots_);
  shift_ = 64;
  for (std::size_t slots = slots_.size(); slots > 1; slots /= 2) {
    --shift_;
  }
  for (const Slot& slot : old) {
    if (slot.pair != kFree) {
      std::size_t place = place_of(slot.pair);
      while (slots_[place].pair != kFree) {
        place = (place + 1) & (slots_.size() - 1);
      }
      slots_[place] = slot;
    }
  }
}

void Merges::apply(std::vector<Id>& tokens) const {
  if (tokens.size() <= kFew) {
    apply_to_few(tokens);
  } else {
    apply_to_many(tokens);
  }
}

void Merges::apply_to_few(std::vector<Id>& tokens) const {
  std::array<Merge, kFew> rules{};  // of each token and the next
  std::size_t count = tokens.size();
  const auto rule_at = [&](std::size_t place) {
    const Merge* rule = find(tokens[place], tokens[place + 1]);
    return rule == nullptr ? Merge{kNoRule, 0} : *rule;
  };
  for (std::size_t place = 0; place + 1 < count; ++place) {
    rules[place] = rule_at(place);
  }
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t place = 1; place + 1 < count; ++place) {
      best = rules[place].rank < rules[best].rank ? place : best;
    }
    if (rules[best].rank == kNoRule) {
      break;
    }
    tokens[best] = rules[best].merged;
    std::copy(tokens.begin() + static_cast<std::ptrdiff_t>(best) + 2,
              tokens.begin() + static_cast<std::ptrdiff_t>(count),
              tokens.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(rules.begin() + best + 1, rules.begin() + count - 1, rules.begin() + best);
    --count;
    if (best + 1 < count) {
      rules[best] = rule_at(best);
    }
    if (best > 0) {
      rules[best - 1] = rule_at(best - 1);
    }
  }
  tokens.resize(count);
}

void Merges::apply_to_many(std::vector<Id>& tokens) const {
  const std::size_t count = tokens.size();
  std::vector<Symbol> symbols;
  symbols.reserve(count);
  std::vector<Candidate> first;
  for (std::size_t place = 0; place < count; ++place) {
    symbols.push_back({tokens[place], false, place == 0 ? kNone : place - 1,
                       place + 1 == count ? kNone : place + 1});
    if (place + 1 < count) {
      if (const Merge* rule = find(tokens[place], tokens[place + 1])) {
        first.push_back({rule->rank, rule->merged, place});
      }
    }
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(),
                                                                               std::move(first));
  const auto offer = [&](std::size_t place) {
    if (place == kNone || symbols[place].next == kNone) {
      return;
    }
    if (const Merge* rule = find(symbols[place].id, symbols[symbols[place].next].id)) {
      queue.push({rule->rank, rule->merged, place});
    }
  };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.place];
    if (left.gone || left.next == kNone) {
      continue;
    }
    Symbol& right = symbols[left.next];
    const Merge* rule = find(left.id, right.id);
    if (rule == nullptr || rule->merged != top.merged) {
      continue;  // one of them has been merged since
    }
    left.id = top.merged;
    left.next = right.next;
    right.gone = true;
    if (left.next != kNone) {
      symbols[left.next].previous = top.place;
    }
    offer(left.previous);
    offer(top.place);
  }
  tokens.clear();
  for (const Symbol& symbol : symbols) {
    if (!symbol.gone) {
      tokens.push_back(symbol.id);
    }
  }
}

}  // namespace kvcache::text
