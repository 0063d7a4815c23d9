#include "inference/token_history.hpp"

#include <algorithm>
#include <utility>

namespace kvcache::inference {

/// Tokens, of which others remember some at the beginning. They are written to by one history,
/// behind what is remembered at any time.
struct TokenHistory::Cells {
  explicit Cells(std::size_t capacity)
      : tokens(std::make_unique_for_overwrite<TokenId[]>(capacity)) {}

  std::unique_ptr<TokenId[]> tokens;
  std::atomic<std::size_t> readers{0};     // who remember
  std::atomic<std::size_t> remembered{0};  // the most that any of them does
};

namespace {

std::uint64_t next_stamp() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

TokenHistory::Prefix::Prefix(std::shared_ptr<Cells> cells, std::size_t length,
                             std::uint64_t stamp) noexcept
    : cells_(std::move(cells)), length_(length), stamp_(stamp) {
  cells_->readers.fetch_add(1, std::memory_order_relaxed);
  // Who does so at the same time remembers as much: the history does not change meanwhile.
  if (cells_->remembered.load(std::memory_order_relaxed) < length) {
    cells_->remembered.store(length, std::memory_order_relaxed);
  }
}

TokenHistory::Prefix::Prefix(Prefix&& other) noexcept = default;

TokenHistory::Prefix& TokenHistory::Prefix::operator=(Prefix&& other) noexcept {
  std::swap(cells_, other.cells_);
  std::swap(length_, other.length_);
  std::swap(stamp_, other.stamp_);
  return *this;
}

TokenHistory::Prefix::~Prefix() {
  if (cells_) {
    cells_->readers.fetch_sub(1, std::memory_order_release);  // whoever sees it may write
  }
}

std::span<const TokenId> TokenHistory::Prefix::tokens() const noexcept {
  return {cells_->tokens.get(), length_};
}

TokenHistory::TokenHistory(std::size_t capacity)
    : capacity_(capacity), cells_(std::make_shared<Cells>(capacity)) {}

TokenHistory TokenHistory::fork() const {
  TokenHistory forked(capacity_);
  std::ranges::copy(tokens(), forked.cells_->tokens.get());
  forked.stamps_ = stamps_;
  forked.length_ = length_;
  return forked;
}

TokenHistory::Prefix TokenHistory::prefix() const noexcept {
  return {cells_, length_, stamp_before(length_)};
}

std::span<const TokenId> TokenHistory::tokens() const noexcept {
  return {cells_->tokens.get(), length_};
}

bool TokenHistory::shares(const Prefix& prefix) const noexcept {
  return prefix.length_ <= length_ && stamp_before(prefix.length_) == prefix.stamp_;
}

bool TokenHistory::shares_all(const TokenHistory& other) const noexcept {
  return length_ == other.length_ && stamp_before(length_) == other.stamp_before(length_);
}

/// Of the last of the first `length` tokens; 0 where there is none.
std::uint64_t TokenHistory::stamp_before(std::size_t length) const noexcept {
  const auto behind = std::ranges::lower_bound(stamps_, length, {}, &Stamped::first);
  return behind == stamps_.begin() ? 0 : std::prev(behind)->stamp;
}

/// Makes the cells from `length` on the history's own.
void TokenHistory::own_cells_from(std::size_t length) {
  if (length >= cells_->remembered.load(std::memory_order_relaxed)) {
    return;
  }
  if (cells_->readers.load(std::memory_order_acquire) == 0) {
    cells_->remembered.store(0, std::memory_order_relaxed);
    return;
  }
  auto own = std::make_shared<Cells>(capacity_);
  std::ranges::copy(tokens(), own->tokens.get());
  previous_ = std::exchange(cells_, std::move(own));
}

void TokenHistory::prepare_append() {
  if (!goes_on_ && stamps_.size() == stamps_.capacity()) {
    stamps_.reserve(2 * stamps_.size() + 1);
  }
  own_cells_from(length_);
}

void TokenHistory::append(std::span<const TokenId> tokens) noexcept {
  if (!goes_on_ && !tokens.empty()) {
    stamps_.push_back({.first = length_, .stamp = next_stamp()});  // has room
    goes_on_ = true;
  }
  for (const TokenId token : tokens) {  // one by one: they may be those that are written
    cells_->tokens[length_++] = token;
  }
  previous_.reset();
}

void TokenHistory::shrink_to(std::size_t length) noexcept {
  if (length < length_) {
    length_ = length;
    goes_on_ = false;
    const auto behind = std::ranges::lower_bound(stamps_, length, {}, &Stamped::first);
    stamps_.erase(behind, stamps_.end());
  }
}

void TokenHistory::prepare_erase() {
  stamps_.reserve(1);
  own_cells_from(0);
}

void TokenHistory::erase(std::size_t first, std::size_t count) noexcept {
  TokenId* const tokens = cells_->tokens.get();
  std::copy(tokens + first + count, tokens + length_, tokens + first);
  length_ -= count;
  stamps_.clear();
  if (length_ > 0) {
    stamps_.push_back({.first = 0, .stamp = next_stamp()});  // has room
  }
  goes_on_ = length_ > 0;
}

}  // namespace kvcache::inference
