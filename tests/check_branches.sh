#!/bin/bash
# The kernel has no indirect branch that a CPU could be made to predict wrongly: C goes through the
# thunks of kernel/branches.S, which are retpolines unless the CPU needs none.
cd "$(dirname "$0")/.." || exit 1
image=build/kernel.elf
[ -e $image ] || {
    echo "$image is not built. Try: make"
    exit 1
}
code=$(objdump -d --no-show-raw-insn $image) || exit 1
thunks=$(grep -c '<__x86_indirect_thunk_[a-z0-9]*>:$' <<<"$code")
calls=$(grep -cE '(call|jmp) +[0-9a-f]+ <__x86_indirect_thunk_[a-z0-9]*>$' <<<"$code")
if grep -E '(call|jmp) +\*' <<<"$code" || [ "$thunks" != 15 ] || [ "$calls" = 0 ]; then
    echo "indirect branches beside those above $calls through $thunks thunks"
    exit 1
fi
echo "$calls indirect branches, all through $thunks thunks"
