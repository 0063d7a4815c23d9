#include "device/cuda/cuda_pool_memory.hpp"

#include <cstdint>

#include "base/device_memory_fault.hpp"
#include "device/cuda/cuda_error.hpp"

namespace kvcache::device {
namespace {

CUmemAllocationProp page_properties() {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  check_cuda(cudaGetDevice(&properties.location.id), "asking for the current GPU");
  return properties;
}

void check_driver(CUresult result, const char* doing) {
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    check_cuda(cudaErrorMemoryAllocation, doing);
  }
  if (result != CUDA_SUCCESS) {
    throw_error(ErrorCode::run_failed, "CUDA's driver failed while {} (error {})", doing,
                static_cast<int>(result));
  }
}

}  // namespace

/// The driver's functions for virtual memory, found at run time: a program built with CUDA must
/// start where there is no driver.
struct CudaPoolMemory::Driver {
  Driver() {
    find(granularity, "cuMemGetAllocationGranularity");
    find(reserve, "cuMemAddressReserve");
    find(release_addresses, "cuMemAddressFree");
    find(create, "cuMemCreate");
    find(release, "cuMemRelease");
    find(map, "cuMemMap");
    find(unmap, "cuMemUnmap");
    find(set_access, "cuMemSetAccess");
  }

  template <typename Function>
  static void find(Function& function, const char* name) {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    check_cuda(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result),
               "looking for the driver's functions");
    if (found == nullptr) {
      throw_error(ErrorCode::device_unavailable,
                  "CUDA's driver has no {}; install one for CUDA 12 or later", name);
    }
    function = reinterpret_cast<Function>(found);
  }

  static const Driver& get() {
    static const Driver driver;
    return driver;
  }

  decltype(&cuMemGetAllocationGranularity) granularity = nullptr;
  decltype(&cuMemAddressReserve) reserve = nullptr;
  decltype(&cuMemAddressFree) release_addresses = nullptr;
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;
};

CudaPoolMemory::CudaPoolMemory(std::size_t bytes, std::shared_ptr<CudaStream> stream)
    : stream_(std::move(stream)), driver_(Driver::get()) {
  const CUmemAllocationProp properties = page_properties();
  check_driver(driver_.granularity(&page_bytes_, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
               "asking for the size of its pages");
  pages_.resize((bytes + page_bytes_ - 1) / page_bytes_);
  bytes_ = pages_.size() * page_bytes_;
  check_driver(driver_.reserve(&address_, bytes_, 0, 0, 0), "reserving addresses for the cache");
  stream_->put_first([this] { copies_.put_in(data(), stream_->get()); });
}

CudaPoolMemory::~CudaPoolMemory() {
  stream_->put_first(nullptr);
  stream_->settle();
  for (std::size_t page = 0; page < pages_.size(); ++page) {
    give_back_page(page);
  }
  driver_.release_addresses(address_, bytes_);
}

void CudaPoolMemory::commit(std::size_t begin, std::size_t end) {
  const CUmemAllocationProp properties = page_properties();
  CUmemAccessDesc access{};
  access.location = properties.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  for (std::size_t page = begin / page_bytes_; page * page_bytes_ < end; ++page) {
    if (pages_[page] != 0) {
      continue;
    }
    CUmemGenericAllocationHandle handle = 0;
    check_driver(device_memory_is_refused() ? CUDA_ERROR_OUT_OF_MEMORY
                                            : driver_.create(&handle, page_bytes_, &properties, 0),
                 "more of the cache");
    const CUdeviceptr at = address_ + page * page_bytes_;
    const CUresult mapped = driver_.map(at, page_bytes_, 0, handle, 0);
    if (mapped != CUDA_SUCCESS) {
      driver_.release(handle);
      check_driver(mapped, "mapping memory of the cache");
    }
    pages_[page] = handle;
    const CUresult opened = driver_.set_access(at, page_bytes_, &access, 1);
    if (opened != CUDA_SUCCESS) {
      give_back_page(page);  // nobody may take it for backed
      check_driver(opened, "opening memory of the cache");
    }
  }
}

void CudaPoolMemory::decommit(std::size_t begin, std::size_t end) noexcept {
  const auto lock = stream_->lock();
  stream_->settle();  // nothing still reads it
  for (std::size_t page = (begin + page_bytes_ - 1) / page_bytes_; (page + 1) * page_bytes_ <= end;
       ++page) {
    give_back_page(page);
  }
}

void CudaPoolMemory::give_back_page(std::size_t page) noexcept {
  if (pages_[page] != 0) {
    driver_.unmap(address_ + page * page_bytes_, page_bytes_);
    driver_.release(pages_[page]);
    pages_[page] = 0;
  }
}

void CudaPoolMemory::copy(std::size_t to, std::size_t from, const Pieces& pieces) noexcept {
  try {
    copies_.add(to, from, pieces);
  } catch (...) {  // no memory to note it down
    const auto lock = stream_->lock();
    const kernels::PieceCopy copy{to, from, pieces.bytes};
    static_cast<void>(
        kernels::copy_pieces(data(), std::span(&copy, 1), layout_of(pieces), stream_->get()));
  }
}

void CudaPoolMemory::fill_with_nan(std::size_t at, const Pieces& pieces) noexcept {
  const auto lock = stream_->lock();
  for (std::size_t i = 0; i < pieces.count; ++i) {
    // One by one: pools lie further apart than the pitch of cudaMemset2DAsync may be, 2 GiB.
    for (std::size_t pool = 0; pool < pieces.pools; ++pool) {
      cudaMemsetAsync(data() + at + i * pieces.stride + pool * pieces.pool_stride, 0xFF,
                      pieces.bytes, stream_->get());
    }
  }
}

void CudaPoolMemory::read(std::size_t from, std::byte* to, std::size_t bytes) {
  const auto lock = stream_->lock();
  check_cuda(cudaMemcpyAsync(to, data() + from, bytes, cudaMemcpyDeviceToHost, stream_->get()),
             "copying the cache to the host");
  stream_->wait();
}

void CudaPoolMemory::write(std::size_t to, const std::byte* from, std::size_t bytes) {
  const auto lock = stream_->lock();
  check_cuda(cudaMemcpyAsync(data() + to, from, bytes, cudaMemcpyHostToDevice, stream_->get()),
             "copying a saved state to the GPU");
  stream_->wait();
}

}  // namespace kvcache::device
