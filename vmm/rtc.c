/* The guest's real-time clock; called from the port table and its timer, on the event loop. */
#include "vmm/rtc.h"

#include <string.h>

#include "vmm/platform.h"
#include "vmm/vm.h"

enum {
    RTC_SECONDS,
    RTC_SECONDS_ALARM,
    RTC_MINUTES,
    RTC_MINUTES_ALARM,
    RTC_HOURS,
    RTC_HOURS_ALARM,
    RTC_WEEKDAY,
    RTC_DAY,
    RTC_MONTH,
    RTC_YEAR,
    RTC_A,
    RTC_B,
    RTC_C,
    RTC_D,
    RTC_CENTURY = 0x32
};

#define A_UIP 0x80
#define A_RATE 0x0f
#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10

#define UPDATE_NS 244000 /* UIP is up this long before the time changes */

/* Civil calendar by counting years from March, so that leap days end a cycle of 400 years. */
i64 rtc_days_from_date(i64 year, u32 month, u32 day)
{
    i64 y = month <= 2 ? year - 1 : year;
    i64 era = (y >= 0 ? y : y - 399) / 400;
    u32 of_era = (u32)(y - era * 400);
    u32 of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + (i64)(of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719468;
}

void rtc_date_from_days(i64 days, i64 *year, u32 *month, u32 *day)
{
    days += 719468;
    i64 era = (days >= 0 ? days : days - 146096) / 146097;
    u32 of_era = (u32)(days - era * 146097);
    u32 y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    u32 of_year = of_era - (365 * y + y / 4 - y / 100);
    u32 m = (5 * of_year + 2) / 153;
    *day = of_year - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = era * 400 + y + (*month <= 2);
}

static u64 guest_ns(const struct rtc *r)
{
    if (r->ram[RTC_B] & B_SET)
        return r->halted_at;
    return platform_unix_ns() + (u64)r->offset;
}

static u8 encode(const struct rtc *r, u32 v)
{
    return (u8)(r->ram[RTC_B] & B_BINARY ? v : v / 10 % 10 << 4 | v % 10);
}

static u32 decode(const struct rtc *r, u8 v)
{
    return r->ram[RTC_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15u);
}

struct fields {
    u32 second, minute, hour, weekday, day, month;
    i64 year;
};

static struct fields now_fields(const struct rtc *r)
{
    struct fields f;
    i64 seconds = (i64)(guest_ns(r) / NS_PER_SEC), days = seconds / 86400;
    u32 of_day = (u32)(seconds % 86400);
    f.second = of_day % 60;
    f.minute = of_day / 60 % 60;
    f.hour = of_day / 3600;
    f.weekday = (u32)((days + 4) % 7) + 1; /* 1970-01-01 was a Thursday; Sunday is 1 */
    rtc_date_from_days(days, &f.year, &f.month, &f.day);
    return f;
}

static u8 encode_hour(const struct rtc *r, u32 hour)
{
    if (r->ram[RTC_B] & B_24H)
        return encode(r, hour);
    return encode(r, (hour + 11) % 12 + 1) | (hour >= 12 ? 0x80 : 0);
}

static u32 decode_hour(const struct rtc *r, u8 v)
{
    if (r->ram[RTC_B] & B_24H)
        return decode(r, v);
    return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

static u8 read_time(const struct rtc *r, u8 reg)
{
    struct fields f = now_fields(r);
    switch (reg) {
    case RTC_SECONDS:
        return encode(r, f.second);
    case RTC_MINUTES:
        return encode(r, f.minute);
    case RTC_HOURS:
        return encode_hour(r, f.hour);
    case RTC_WEEKDAY:
        return encode(r, f.weekday);
    case RTC_DAY:
        return encode(r, f.day);
    case RTC_MONTH:
        return encode(r, f.month);
    case RTC_YEAR:
        return encode(r, (u32)(f.year % 100));
    default:
        return encode(r, (u32)(f.year / 100));
    }
}

static bool is_time(u8 reg)
{
    return reg == RTC_SECONDS || reg == RTC_MINUTES || reg == RTC_HOURS ||
           (reg >= RTC_WEEKDAY && reg <= RTC_YEAR) || reg == RTC_CENTURY;
}

/* Change one field of the guest's clock; out-of-range values are clipped. */
static void write_time(struct rtc *r, u8 reg, u8 value)
{
    struct fields f = now_fields(r);
    u64 before = guest_ns(r);
    u32 v = decode(r, value);
    switch (reg) {
    case RTC_SECONDS:
        f.second = MIN(v, 59);
        break;
    case RTC_MINUTES:
        f.minute = MIN(v, 59);
        break;
    case RTC_HOURS:
        f.hour = MIN(decode_hour(r, value), 23);
        break;
    case RTC_DAY:
        f.day = MIN(MAX(v, 1), 31);
        break;
    case RTC_MONTH:
        f.month = MIN(MAX(v, 1), 12);
        break;
    case RTC_YEAR:
        f.year = f.year / 100 * 100 + MIN(v, 99);
        break;
    case RTC_CENTURY:
        f.year = (i64)MIN(MAX(v, 19), 25) * 100 + f.year % 100;
        break;
    default: /* the day of the week follows from the date */
        return;
    }
    r->changed = true;
    if (f.year < 1970) /* year and century are set one after the other */
        f.year += 100;
    i64 days = rtc_days_from_date(MAX(f.year, 1970), f.month, f.day);
    u64 after = (u64)(days * 86400 + f.hour * 3600 + f.minute * 60 + f.second) * NS_PER_SEC +
                before % NS_PER_SEC;
    r->offset += (i64)(after - before);
    r->halted_at = after;
}

static void raise(struct vm *vm, struct rtc *r, u8 flags)
{
    r->ram[RTC_C] |= flags;
    if (!(r->ram[RTC_C] & r->ram[RTC_B] & (C_PF | C_AF | C_UF)))
        return;
    if (!(r->ram[RTC_C] & C_IRQF))
        platform_irq(vm, RTC_IRQ, true);
    r->ram[RTC_C] |= C_IRQF;
}

/* Period of rate select 1..15: 32768 Hz >> (rate - 1); 1 and 2 are those of 8 and 9. */
static u64 period_ns(const struct rtc *r)
{
    u32 rate = r->ram[RTC_A] & A_RATE;
    if (!rate || !(r->ram[RTC_B] & B_PIE))
        return 0;
    if (rate < 3)
        rate += 7;
    return (NS_PER_SEC << (rate - 1)) / 32768;
}

static u64 next_second(const struct rtc *r)
{
    if (!(r->ram[RTC_B] & (B_UIE | B_AIE)) || (r->ram[RTC_B] & B_SET))
        return PLATFORM_NEVER;
    return platform_now() + NS_PER_SEC - guest_ns(r) % NS_PER_SEC;
}

static void arm(struct vm *vm, struct rtc *r)
{
    u64 period = period_ns(r);
    if (!period)
        r->next_periodic = PLATFORM_NEVER;
    else if (r->next_periodic == PLATFORM_NEVER || r->next_periodic <= platform_now())
        r->next_periodic = platform_now() + period;
    r->next_second = next_second(r);
    platform_timer(vm, VM_TIMER_RTC, MIN(r->next_periodic, r->next_second));
}

/* An alarm byte with both top bits set matches everything. */
static bool alarm_matches(const struct rtc *r)
{
    struct fields f = now_fields(r);
    u8 s = r->ram[RTC_SECONDS_ALARM], m = r->ram[RTC_MINUTES_ALARM], h = r->ram[RTC_HOURS_ALARM];
    return (s >= 0xc0 || decode(r, s) == f.second) && (m >= 0xc0 || decode(r, m) == f.minute) &&
           (h >= 0xc0 || decode_hour(r, h) == f.hour);
}

void rtc_timer(struct vm *vm)
{
    struct rtc *r = &vm->state->rtc;
    u64 now = platform_now();
    if (now >= r->next_periodic)
        raise(vm, r, C_PF);
    if (now >= r->next_second)
        raise(vm, r, C_UF | (alarm_matches(r) ? C_AF : 0));
    arm(vm, r);
}

static u8 read_register(struct vm *vm, struct rtc *r, u8 reg)
{
    u8 v = r->ram[reg];
    if (is_time(reg))
        return read_time(r, reg);
    switch (reg) {
    case RTC_A:
        if (!(r->ram[RTC_B] & B_SET) && guest_ns(r) % NS_PER_SEC >= NS_PER_SEC - UPDATE_NS)
            v |= A_UIP;
        return v;
    case RTC_C:
        r->ram[RTC_C] = 0;
        if (v & C_IRQF)
            platform_irq(vm, RTC_IRQ, false);
        return v;
    case RTC_D:
        return 0x80; /* battery is good */
    default:
        return v;
    }
}

static void write_register(struct vm *vm, struct rtc *r, u8 reg, u8 v)
{
    if (is_time(reg)) {
        write_time(r, reg, v);
        platform_nvram(vm);
        return;
    }
    switch (reg) {
    case RTC_A:
        r->ram[RTC_A] = v & ~A_UIP;
        break;
    case RTC_B:
        if ((v & B_SET) && !(r->ram[RTC_B] & B_SET))
            r->halted_at = guest_ns(r);
        else if (!(v & B_SET) && (r->ram[RTC_B] & B_SET))
            r->offset = (i64)(r->halted_at - platform_unix_ns());
        r->ram[RTC_B] = v & B_SET ? v & ~B_UIE : v;
        break;
    case RTC_C:
    case RTC_D:
        return;
    default:
        if (r->ram[reg] == v)
            return;
        r->ram[reg] = v;
        if (reg >= RTC_KEPT) { /* not the alarm */
            r->changed = true;
            platform_nvram(vm);
        }
        return;
    }
    arm(vm, r);
}

u32 rtc_in(struct vm *vm, u16 port, u8 size)
{
    struct rtc *r = &vm->state->rtc;
    (void)size;
    return port & 1 ? read_register(vm, r, r->index) : 0xff;
}

void rtc_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    struct rtc *r = &vm->state->rtc;
    (void)size;
    if (port & 1)
        write_register(vm, r, r->index, (u8)value);
    else
        r->index = value & 0x7f; /* bit 7 would mask NMI */
}

void rtc_reset(struct vm *vm)
{
    struct rtc *r = &vm->state->rtc, kept = *r;
    *r = (struct rtc){.offset = kept.offset,
                      .changed = kept.changed,
                      .next_periodic = PLATFORM_NEVER,
                      .next_second = PLATFORM_NEVER};
    memcpy(r->ram + RTC_KEPT, kept.ram + RTC_KEPT, sizeof(r->ram) - RTC_KEPT);
    r->ram[RTC_A] = 0x26;
    r->ram[RTC_B] = B_24H;
    platform_timer(vm, VM_TIMER_RTC, PLATFORM_NEVER);
}
