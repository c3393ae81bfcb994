// How an operation is written as bytes and read back; the other side is crates/mlx/src/op/encode.rs.
//
// The place in the operation table (two bytes, low one first), then the attributes in order: numbers as they are in
// memory (little-endian), a truth value and an enum as one byte, an optional as one byte and perhaps the value, lists and
// text as a length of four bytes and the elements.
#ifndef MLX_NATIVE_OP_BYTES_H
#define MLX_NATIVE_OP_BYTES_H

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

namespace ops {

static_assert(std::endian::native == std::endian::little, "operations are encoded as they are in memory");

// Short ones need no allocation.
using Bytes = std::string;

class Writer {
 public:
  explicit Writer(uint16_t id) {
    put(id);
  }

  template <class T>
  void put(const T& value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }

  template <class T>
  void put(const std::optional<T>& value) {
    put(value.has_value());
    if (value) {
      put(*value);
    }
  }

  template <class T>
  void put(const std::vector<T>& values) {
    put(static_cast<uint32_t>(values.size()));
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }

  void put(const std::string& text) {
    put(static_cast<uint32_t>(text.size()));
    bytes += text;
  }

  Bytes bytes;
};

class Reader {
 public:
  explicit Reader(const Bytes& bytes) : next_(bytes.data()), end_(next_ + bytes.size()) {}

  template <class T>
  void get(T& value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
  }

  template <class T>
  void get(std::optional<T>& value) {
    bool is_given;
    get(is_given);
    if (is_given) {
      get(value.emplace());
    }
  }

  template <class T>
  void get(std::vector<T>& values) {
    uint32_t size;
    get(size);
    auto* from = take(size_t{size} * sizeof(T));
    values.resize(size);
    std::memcpy(values.data(), from, size_t{size} * sizeof(T));
  }

  void get(std::string& text) {
    uint32_t size;
    get(size);
    text.assign(take(size), size);
  }

 private:
  const char* take(size_t size) {
    if (static_cast<size_t>(end_ - next_) < size) {
      throw std::invalid_argument("an encoded operation is cut off");
    }
    auto* at = next_;
    next_ += size;
    return at;
  }

  const char* next_;
  const char* end_;
};

template <class Op>
Bytes encode(Op op) {
  Writer writer(Op::id);
  std::apply([&](auto&... fields) { (writer.put(fields), ...); }, op.fields());
  return std::move(writer.bytes);
}

inline uint16_t id_of(const Bytes& bytes) {
  uint16_t id;
  Reader(bytes).get(id);
  return id;
}

// Reads the attributes of an operation, which must be this one.
template <class Op>
Op decode(const Bytes& bytes) {
  Reader reader(bytes);
  uint16_t id;
  reader.get(id);
  if (id != Op::id) {
    throw std::invalid_argument("an encoded operation is another one");
  }
  Op op;
  std::apply([&](auto&... fields) { (reader.get(fields), ...); }, op.fields());
  return op;
}

} // namespace ops

#endif
