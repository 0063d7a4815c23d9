#include "weights/weight_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <exception>
#include <mutex>
#include <utility>

#include "base/file_lease.hpp"
#include "base/memory_map.hpp"
#include "weights/weight_pages.hpp"

namespace kvcache::weights {
namespace {

/// How file_at() names an open file: as it does one of its pages.
std::string name_of(const OpenFile& file) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* mapped = ::mmap(nullptr, page, PROT_NONE, MAP_PRIVATE, file.descriptor(), 0);
  if (mapped == MAP_FAILED) {
    return {};
  }
  const auto place = file_at(mapped);
  ::munmap(mapped, page);
  return place ? place->file : std::string();
}

}  // namespace

class WeightFile::State {
 public:
  State(const std::filesystem::path& path, WeightSource source, int num_threads)
      : file_(path), num_threads_(num_threads) {
    if (file_.size() > 0) {
      if (source != WeightSource::read) {
        lease_.emplace(file_.descriptor(), [this] { move(); });
        if (source == WeightSource::held && !lease_->held()) {
          source = WeightSource::read;
        }
      }
      name_ = name_of(file_);
    }
    mapped_ = source != WeightSource::read && file_.size() > 0;
    pages_.emplace(file_, mapped_ ? WeightPages::Way::map : WeightPages::Way::read, num_threads);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { stop(); }

  void settle(std::vector<MappedPlace> others) {
    const std::unique_lock lock(mutex_);
    others_ = std::move(others);
    settled_ = true;
    if (!mapped_) {
      pages_->wait(file_.size());
      begin();
      static_cast<void>(!copy_ || copy_->wait());
    } else if (move_wanted_) {
      begin();
    }
  }

  void move() {
    const std::scoped_lock lock(mutex_);
    move_wanted_ = true;
    if (settled_ && mapped_) {
      begin();
    }
  }

  [[nodiscard]] bool wait_for_move() const {
    const HugePageCopy* copy = nullptr;
    {
      const std::scoped_lock lock(mutex_);
      copy = copy_.get();
    }
    return copy != nullptr && copy->wait();
  }

  void stop() noexcept {
    std::unique_ptr<HugePageCopy> ended;
    {
      const std::scoped_lock lock(mutex_);
      stopped_ = true;
      ended = std::move(copy_);
    }
  }

  [[nodiscard]] bool is_independent() const {
    return !mapped_ || (lease_ && lease_->held()) || wait_for_move();
  }

  [[nodiscard]] const WeightPages& pages() const noexcept { return *pages_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  /// Copies what is mapped, with the lock held.
  void begin() {
    if (copy_ || stopped_) {
      return;
    }
    std::vector<MappedPlace> places = others_;
    if (mapped_) {
      places.push_back({pages_->bytes(), pages_->bytes().data()});
    }
    try {
      copy_ = std::make_unique<HugePageCopy>(
          places, num_threads_, [this] { pages_->wait(file_.size()); },
          [this](bool all) {
            if (all && lease_) {
              lease_->give_back();
            }
          });
    } catch (const std::exception&) {
      // No thread or no memory: it stays mapped, and held.
    }
  }

  OpenFile file_;
  int num_threads_;
  bool mapped_ = false;
  std::string name_;
  std::vector<MappedPlace> others_;
  std::optional<WeightPages> pages_;
  mutable std::mutex mutex_;
  bool settled_ = false;
  bool move_wanted_ = false;
  bool stopped_ = false;
  std::unique_ptr<HugePageCopy> copy_;
  std::optional<FileLease> lease_;  // its thread may begin a copy, a copy may give it back
};

WeightFile::WeightFile(const std::filesystem::path& path, WeightSource source, int num_threads)
    : state_(std::make_unique<State>(path, source, num_threads)) {}
WeightFile::WeightFile(WeightFile&&) noexcept = default;
WeightFile& WeightFile::operator=(WeightFile&&) noexcept = default;
WeightFile::~WeightFile() = default;

void WeightFile::wait(std::size_t end) const { state_->pages().wait(end); }
void WeightFile::settle(std::vector<MappedPlace> others) { state_->settle(std::move(others)); }
void WeightFile::move() { state_->move(); }
bool WeightFile::wait_for_move() const { return state_->wait_for_move(); }
void WeightFile::stop() noexcept { state_->stop(); }
bool WeightFile::is_independent() const { return state_->is_independent(); }
std::span<const std::byte> WeightFile::bytes() const noexcept { return state_->pages().bytes(); }
const std::string& WeightFile::file() const noexcept { return state_->name(); }

}  // namespace kvcache::weights
