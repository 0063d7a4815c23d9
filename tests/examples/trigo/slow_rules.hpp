// The rules once more, as they are written down: everything is counted anew for every question.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <set>
#include <vector>

namespace trigo::test {

class SlowRules {
 public:
  static constexpr int kPass = -1;

  SlowRules(int x, int y, int z) : size_{x, y, z}, cells_(points(), '.') {}

  [[nodiscard]] std::size_t points() const {
    return static_cast<std::size_t>(size_[0]) * static_cast<std::size_t>(size_[1]) *
           static_cast<std::size_t>(size_[2]);
  }
  [[nodiscard]] const std::vector<char>& cells() const { return cells_; }
  [[nodiscard]] bool ended() const { return passes_ == 2; }

  [[nodiscard]] bool legal(int move) const {
    SlowRules after = *this;
    return after.play(move);
  }

  /// Plays a move; false, and nothing is played, where it is illegal.
  bool play(int move) {
    if (ended()) {
      return false;
    }
    SlowRules after = *this;
    after.passes_ = move == kPass ? passes_ + 1 : 0;
    after.ko_ = std::nullopt;
    if (move != kPass && !after.place(move, ko_)) {
      return false;
    }
    after.black_ = !black_;
    *this = after;
    return true;
  }

  [[nodiscard]] std::set<int> group(int point) const {
    std::set<int> found{point};
    std::vector<int> waiting{point};
    while (!waiting.empty()) {
      const int at = waiting.back();
      waiting.pop_back();
      for (const int other : neighbours(at)) {
        if (cell(other) == cell(point) && found.insert(other).second) {
          waiting.push_back(other);
        }
      }
    }
    return found;
  }

  [[nodiscard]] std::set<int> liberties(int point) const {
    std::set<int> found;
    for (const int stone : group(point)) {
      for (const int other : neighbours(stone)) {
        if (cell(other) == '.') {
          found.insert(other);
        }
      }
    }
    return found;
  }

  /// White's points less Black's.
  [[nodiscard]] int score() const {
    int difference = 0;
    for (int point = 0; point < static_cast<int>(points()); ++point) {
      std::set<char> owners{cell(point)};
      if (cell(point) == '.') {
        owners.clear();
        for (const int empty : group(point)) {
          for (const int other : neighbours(empty)) {
            owners.insert(cell(other));
          }
        }
        owners.erase('.');
      }
      if (owners.size() == 1) {
        difference += *owners.begin() == 'O' ? 1 : -1;
      }
    }
    return difference;
  }

 private:
  [[nodiscard]] char cell(int point) const { return cells_[static_cast<std::size_t>(point)]; }

  [[nodiscard]] std::array<int, 3> place_of(int point) const {
    return {point / (size_[1] * size_[2]), point / size_[2] % size_[1], point % size_[2]};
  }

  [[nodiscard]] std::vector<int> neighbours(int point) const {
    std::vector<int> found;
    for (int other = 0; other < static_cast<int>(points()); ++other) {
      const auto a = place_of(point);
      const auto b = place_of(other);
      if (std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]) == 1) {
        found.push_back(other);
      }
    }
    return found;
  }

  bool place(int point, std::optional<int> forbidden) {
    if (cell(point) != '.') {
      return false;
    }
    const char own = black_ ? 'X' : 'O';
    cells_[static_cast<std::size_t>(point)] = own;
    std::vector<std::set<int>> captured;
    for (const int other : neighbours(point)) {
      if (cell(other) != '.' && cell(other) != own && liberties(other).empty()) {
        captured.push_back(group(other));
        for (const int stone : captured.back()) {
          cells_[static_cast<std::size_t>(stone)] = '.';
        }
      }
    }
    const bool one = captured.size() == 1 && captured[0].size() == 1;
    if (liberties(point).empty() || (one && forbidden == point)) {
      return false;
    }
    ko_ = one ? std::optional(*captured[0].begin()) : std::nullopt;
    return true;
  }

  std::array<int, 3> size_;
  std::vector<char> cells_;
  bool black_ = true;
  int passes_ = 0;
  std::optional<int> ko_;  // where the move before captured one stone and no more
};

}  // namespace trigo::test
