// Places in lists that are made once, so that joining and leaving a list cannot fail.
#pragma once

#include <list>
#include <utility>

namespace kvcache::evaluator {

/// One element's place in at most one list of its kind at a time. The lists must outlive it there.
template <typename T>
class Place {
 public:
  explicit Place(T element) : at_(holder_.insert(holder_.end(), std::move(element))) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { leave(); }

  /// Moves there, in front of `before`, from wherever it was.
  void enter(std::list<T>& list, typename std::list<T>::iterator before) noexcept {
    list.splice(before, *in_, at_);
    in_ = &list;
  }
  void enter(std::list<T>& list) noexcept { enter(list, list.end()); }
  void leave() noexcept {
    if (in_ != &holder_) {
      enter(holder_);
    }
  }

  /// Where it stands in the list that it is in.
  [[nodiscard]] typename std::list<T>::iterator position() const noexcept { return at_; }

  [[nodiscard]] bool in_any() const noexcept { return in_ != &holder_; }

 private:
  std::list<T> holder_;  // while it is in no other
  typename std::list<T>::iterator at_;
  std::list<T>* in_ = &holder_;
};

}  // namespace kvcache::evaluator
