// The start of a program on Arm's MPS2 boards as qemu emulates them. It loads the whole image where it runs.
#include <cstdint>
#include <cstdlib>

extern "C" {

extern std::uint32_t stack_top;
void initialise_monitor_handles();
void __libc_init_array();
int main();

// Required by the C library where the program brings its own start.
void _init() {}
void _fini() {}

void Reset() {
#if defined(__ARM_FP)
  // CPACR: full access to the floating-point unit, which is off after a reset.
  volatile auto* access = reinterpret_cast<std::uint32_t*>(0xE000ED88);
  *access = *access | (0xFu << 20);
  __asm volatile("dsb\n isb" ::: "memory");
#endif
  initialise_monitor_handles();
  __libc_init_array();
  std::exit(main());
}

// Semihosting ends the emulator with a status: SYS_EXIT_EXTENDED, with the address of (reason, status).
void Fault() {
  const std::uint32_t why[2] = {0x20026, 99};
  register std::uint32_t operation __asm("r0") = 0x20;
  register const std::uint32_t* words __asm("r1") = why;
  __asm volatile("bkpt 0xab" ::"r"(operation), "r"(words) : "memory");
  for (;;) {
  }
}

using Handler = void (*)();
__attribute__((section(".vectors"), used)) const Handler vectors[16] = {
    reinterpret_cast<Handler>(&stack_top), Reset, Fault, Fault, Fault, Fault, Fault,
};

}  // extern "C"
