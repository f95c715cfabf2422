// Runs a bundle's code for microcontrollers on golden inputs, on an emulated Cortex-M. Files are the host's, over
// semihosting: inputs.bin has the samples one after another, outputs.bin gets the values of each as 32-bit floats.
//
// RUN, VALUE and COUNT name the functions and the constant of classifier_micro.cc, whose samples are bytes.
#include <cstdio>

#include "classifier_micro.cc"

namespace {

bool Refused(bool ran) { return !ran; }
bool Refused(int label) { return label < 0; }

template <typename Answer, typename Sample>
bool Ran(Answer (*run)(const Sample*), const std::uint8_t* bytes) {
  return !Refused(run(reinterpret_cast<const Sample*>(bytes)));
}

}  // namespace

int main() {
  static std::uint8_t sample[kInputBytes];
  if (!Begin()) {
    std::printf("Begin failed\n");
    return 1;
  }
  std::FILE* inputs = std::fopen("inputs.bin", "rb");
  std::FILE* outputs = std::fopen("outputs.bin", "wb");
  if (inputs == nullptr || outputs == nullptr) return 2;
  while (std::fread(sample, 1, kInputBytes, inputs) == sizeof sample) {
    if (!Ran(RUN, sample)) {
      std::printf("Invoke failed\n");
      return 3;
    }
    for (int i = 0; i < COUNT; ++i) {
      const float value = VALUE(i);
      if (std::fwrite(&value, sizeof value, 1, outputs) != 1) return 4;
    }
  }
  std::printf("arena_used_bytes %u\n", static_cast<unsigned>(g_interpreter->arena_used_bytes()));
  return std::fclose(outputs) == 0 ? 0 : 4;
}
