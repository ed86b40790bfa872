# Compiler flags of each folder, for the checks (sourced).  The build's own are in the Makefile.
WARNINGS="-Wall -Wextra -Werror -Wimplicit-fallthrough -Wshadow -Wvla -Wundef -Wstrict-prototypes
 -Wmissing-prototypes"
COMMON="-std=gnu11 $WARNINGS -fno-common -fno-strict-aliasing -fno-omit-frame-pointer -I. -isystem build/lib/include
 -isystem build/lwip/include -isystem net/lwip -isystem build/ssh/include"
flags_of() { # FILE
    case $1 in
    kernel/abi/* | kernel/lib/* | kernel/*)
        echo "$COMMON -ffreestanding -mno-red-zone -mgeneral-regs-only -mcmodel=kernel -fno-pic" \
            "-fno-pie -fno-stack-protector"
        ;;
    boot/* | tests/bare/*)
        echo "$COMMON -ffreestanding -mno-red-zone -fshort-wchar -fPIC -fno-stack-protector" \
            "-isystem /usr/include/efi -isystem /usr/include/efi/x86_64 -DGNU_EFI_USE_MS_ABI" \
            "-DEFI_FUNCTION_WRAPPER"
        ;;
    tests/guests/*)
        echo "$COMMON -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-pic -fno-pie" \
            "-fno-stack-protector"
        ;;
    *)
        echo "$COMMON -fno-pic -fno-pie -fno-stack-protector"
        ;;
    esac
}
sources() { # PATTERN...: tracked and new files, without build output
    git ls-files -co --exclude-standard "$@" | while read -r file; do
        [ -e "$file" ] && echo "$file"
    done
}
