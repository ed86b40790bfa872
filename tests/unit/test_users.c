/* links: control/users.c control/refusal.c control/password.c control/schema.c control/rt/random.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "control/password.h"
#include "control/rt/clock.h"
#include "control/rt/sys.h"
#include "control/users.h"

static int empty(void **state)
{
    (void)state;
    while (users_any()) {
        struct user *u = users_first();

        while (u->next && u->role == ROLE_ADMIN)
            u = u->next;
        if (users_remove(u) != HV_OK)
            return -1;
    }
    return 0;
}

static void sums_of_passwords(void **state)
{
    char a[PASSWORD_TEXT], b[PASSWORD_TEXT];

    (void)state;
    assert_true(password_hash("correct horse", 1000, a));
    assert_true(password_hash("correct horse", 1000, b));
    assert_string_not_equal(a, b); /* salted */
    assert_true(password_matches("correct horse", a));
    assert_true(password_matches("correct horse", b));
    assert_false(password_matches("correct horsf", a));
    assert_false(password_matches("", a));
    assert_true(password_is_hash(a));
    a[20]++;
    assert_false(password_matches("correct horse", a));
}

/* One slice is PBKDF2-HMAC-SHA512 as others compute it: Python's hashlib.pbkdf2_hmac("sha512",
 * b"password", bytes(range(16)), 500, 32). */
static void one_slice_is_pbkdf2(void **state)
{
    (void)state;
    assert_true(password_matches(
        "password", "pbkdf2-sha512$500$000102030405060708090a0b0c0d0e0f$"
                    "c4dbaeec2d38936c8d8f366ccead730f8332cc50fbc9c557395a12b0174c75a7"));
}

static void bad_sums_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "pbkdf2-sha512",
        "pbkdf2-sha512$",
        "pbkdf2-sha512$500$00$00",
        "pbkdf2-sha512$0$00000000000000000000000000000000$"
        "0000000000000000000000000000000000000000000000000000000000000000",
        "pbkdf2-sha512$501$00000000000000000000000000000000$"
        "0000000000000000000000000000000000000000000000000000000000000000",
        "pbkdf2-sha512$99999999$00000000000000000000000000000000$"
        "0000000000000000000000000000000000000000000000000000000000000000",
        "pbkdf2-sha512$500$00000000000000000000000000000000$"
        "000000000000000000000000000000000000000000000000000000000000000",
        "pbkdf2-sha512$500$0000000000000000000000000000000g$"
        "0000000000000000000000000000000000000000000000000000000000000000",
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(password_is_hash(bad[i]));
}

static void names_and_numbers(void **state)
{
    static const char *const bad[] = {"",
                                      "9a",
                                      "a b",
                                      "root",
                                      "config",
                                      "-a",
                                      "a/b",
                                      "a$",
                                      "a;b",
                                      "\xc3",
                                      "abcdefghijklmnopqrstuvwxyzabcdef"};
    struct user *u;
    char name[8];

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(users_add(bad[i], ROLE_VIEW, &u), HV_EINVAL);
    assert_int_equal(users_add("anna", ROLE_ADMIN, &u), HV_OK);
    assert_int_equal(users_add("anna", ROLE_VIEW, &u), HV_EEXIST);
    for (u32 i = 1; i < USERS_MAX; i++) {
        snprintf(name, sizeof(name), "u%u", i);
        assert_int_equal(users_add(name, ROLE_VIEW, &u), HV_OK);
    }
    assert_int_equal(users_add("more", ROLE_VIEW, &u), HV_E2BIG);
}

static void the_last_administrator_stays(void **state)
{
    struct user *anna, *bob;

    (void)state;
    assert_int_equal(users_add("anna", ROLE_ADMIN, &anna), HV_OK);
    assert_int_equal(users_add("bob", ROLE_OPERATE, &bob), HV_OK);
    assert_int_equal(users_remove(anna), HV_EPERM);
    assert_int_equal(users_set_role(anna, ROLE_VIEW), HV_EPERM);
    assert_int_equal(users_set_role(bob, ROLE_ADMIN), HV_OK);
    assert_int_equal(users_set_role(anna, ROLE_VIEW), HV_OK);
    assert_int_equal(users_remove(anna), HV_OK);
    assert_int_equal(users_remove(bob), HV_OK); /* nobody is left to be without one */
}

/* How often that is in the log's records from `since` on. */
static u32 logged(u64 since, const char *text)
{
    struct log_cursor c = {.seq = since};
    char record[256];
    u32 n = 0;

    while (sys_log_read(&c, record, sizeof(record)) > 0)
        n += strstr(record, text) != NULL;
    return n;
}

static u64 log_end(void)
{
    struct log_cursor c = {0};
    char record[256];

    while (sys_log_read(&c, record, sizeof(record)) > 0)
        ;
    return c.seq;
}

static u32 kept;

static void keep(void)
{
    kept++;
}

static void five_failures_lock(void **state)
{
    struct user *u;
    u64 begin = log_end();

    (void)state;
    kept = 0;
    users_on_lock = keep;
    assert_int_equal(users_add("anna", ROLE_ADMIN, &u), HV_OK);
    assert_false(users_check("anna", "", "here")); /* no password is no empty one */
    assert_int_equal(users_set_password(u, "short"), HV_EINVAL);
    assert_int_equal(users_set_password(u, "long enough"), HV_OK);
    for (u32 i = 0; i < USERS_FAILURES - 1; i++)
        assert_false(users_check("anna", "wrong", "here"));
    assert_int_equal(users_check("anna", "long enough", "here"), u->id); /* counts anew */
    for (u32 i = 0; i < USERS_FAILURES; i++) {
        assert_false(users_locked(u));
        assert_int_equal(kept, 0);
        assert_false(users_check("anna", "wrong", "here"));
    }
    assert_true(users_locked(u));
    assert_int_equal(kept, 1);
    assert_false(users_check("anna", "long enough", "here"));
    users_unlock(u);
    assert_int_equal(users_check("anna", "long enough", "here"), u->id);
    assert_false(users_check("nobody", "long enough", "here"));
    assert_false(users_check("an\x1b[2Ja\n", "long enough", "here"));
    assert_int_equal(logged(begin, "login of anna from here refused: wrong password"), 10);
    assert_int_equal(logged(begin, "login of anna from here refused: locked"), 1);
    assert_int_equal(logged(begin, "login of nobody from here refused: no such user"), 1);
    assert_int_equal(logged(begin, "login of an?[2Ja? from here refused: no such user"), 1);
    assert_int_equal(logged(begin, "user anna is locked for 600 s after 5 failed logins"), 1);
    users_on_lock = NULL;
}

/* As a restart of the control partition, or of the machine, finds it in what is kept. */
static void a_lock_is_kept(void **state)
{
    u64 now = clock_firmware_ns() / CLOCK_SECOND, until;
    struct user *u;

    (void)state;
    assert_int_equal(users_add("anna", ROLE_ADMIN, &u), HV_OK);
    assert_int_equal(users_locked_until(u), 0);
    users_lock_until(u, now); /* over meanwhile */
    assert_false(users_locked(u));
    users_lock_until(u, now + 100);
    assert_true(users_locked(u));
    until = users_locked_until(u);
    assert_in_range(until, now + 99, now + 101);
    users_unlock(u);
    users_lock_until(u, until);
    assert_in_range(users_locked_until(u), until - 1, until + 1);
    users_lock_until(u, now + 1000000); /* a clock that was put back locks nobody for ever */
    assert_in_range(users_locked_until(u), now + USERS_LOCK_SECONDS - 1,
                    now + USERS_LOCK_SECONDS + 2);
}

static void a_barred_user_stays_out(void **state)
{
    static const char key[] = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==";
    struct user *anna, *bob;

    (void)state;
    assert_int_equal(users_add("anna", ROLE_ADMIN, &anna), HV_OK);
    assert_int_equal(users_bar(anna), HV_EPERM); /* nobody could undo it */
    assert_int_equal(users_add("bob", ROLE_ADMIN, &bob), HV_OK);
    assert_int_equal(users_set_password(bob, "long enough"), HV_OK);
    assert_int_equal(users_add_key(bob, key), HV_OK);
    assert_int_equal(users_bar(bob), HV_OK);
    assert_true(users_locked(bob));
    assert_int_equal(users_locked_until(bob), 0); /* for good, not for a while */
    assert_int_equal(users_bar(anna), HV_EPERM);  /* bob is of no help now */
    assert_int_equal(users_remove(anna), HV_EPERM);
    assert_int_equal(users_set_role(anna, ROLE_VIEW), HV_EPERM);
    assert_false(users_check("bob", "long enough", "here"));
    assert_false(users_check_key("bob", key, "there", true));
    assert_int_equal(users_set_password(bob, "longer still"), HV_OK);
    assert_false(users_check("bob", "longer still", "here"));
    users_unlock(bob);
    assert_int_equal(users_check("bob", "longer still", "here"), bob->id);
}

static void a_name_given_again_is_another_user(void **state)
{
    struct user *anna, *bob, *again;

    (void)state;
    assert_int_equal(users_add("anna", ROLE_ADMIN, &anna), HV_OK);
    assert_int_equal(users_add("bob", ROLE_VIEW, &bob), HV_OK);
    u64 id = bob->id;
    assert_ptr_equal(users_by_id(id), bob);
    assert_int_equal(users_remove(bob), HV_OK);
    assert_null(users_by_id(id));
    assert_int_equal(users_add("bob", ROLE_ADMIN, &again), HV_OK);
    assert_null(users_by_id(id));
    assert_int_not_equal(again->id, id);
    assert_null(users_by_id(0));
}

static void keys_let_in(void **state)
{
    static const char key[] = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==";
    char other[] = "ssh-ed25519 AAAA0";
    struct user *u;

    (void)state;
    assert_int_equal(users_add("anna", ROLE_OPERATE, &u), HV_OK);
    assert_int_equal(users_add_key(u, "rubbish"), HV_EINVAL);
    assert_int_equal(users_add_key(u, "ssh-ed25519 "), HV_EINVAL);
    assert_int_equal(users_add_key(u, "ssh-ed25519 AA'A"), HV_EINVAL);
    assert_int_equal(users_add_key(u, key), HV_OK);
    assert_int_equal(users_check_key("anna", key, "there", false), u->id);
    assert_int_equal(u->logins, 0);
    assert_int_equal(users_check_key("anna", key, "there", true), u->id);
    assert_int_equal(u->logins, 1);
    assert_false(users_check_key("anna", "ssh-ed25519 AAAA", "there", true));
    assert_false(users_check_key("bob", key, "there", true));
    assert_int_equal(users_add_key(u, key), HV_EEXIST);
    for (u32 i = 1; i < USERS_KEYS; i++) {
        other[sizeof(other) - 2] = (char)('0' + i);
        assert_int_equal(users_add_key(u, other), HV_OK);
    }
    assert_int_equal(users_add_key(u, "ssh-ed25519 BBBB"), HV_E2BIG);
    users_remove_key(u, 0); /* the others move up */
    assert_false(users_check_key("anna", key, "there", true));
    assert_string_equal(u->key[0], "ssh-ed25519 AAAA1");
    assert_string_equal(u->key[2], "ssh-ed25519 AAAA3");
    assert_null(u->key[3]);
    users_remove_key(u, 2);
    assert_false(users_check_key("anna", "ssh-ed25519 AAAA3", "there", true));
    assert_int_equal(users_check_key("anna", "ssh-ed25519 AAAA2", "there", true), u->id);
    assert_int_equal(users_add_key(u, key), HV_OK);
    assert_int_equal(users_check_key("anna", key, "there", true), u->id);
}

/* One event a connection; only those that failed with keys alone count. */
static void refused_keys(void **state)
{
    struct user *u;
    u64 begin = log_end();

    (void)state;
    assert_int_equal(users_add("anna", ROLE_OPERATE, &u), HV_OK);
    users_refuse_keys("anna", "there", 3, "SHA256:x", false);
    assert_int_equal(u->failures, 0);
    users_refuse_keys("anna", "there", 1, "SHA256:y", true);
    assert_int_equal(u->failures, 1);
    u->failures = USERS_FAILURES - 1;
    users_refuse_keys("anna", "there", 1, "SHA256:y", true);
    assert_true(users_locked(u));
    users_refuse_keys("anna", "there", 1, "SHA256:z", true);
    users_refuse_keys("e\nve", "there", 2, "SHA256:z", true);
    assert_int_equal(logged(begin, "login of anna from there refused: 3 keys not accepted, the "
                                   "last SHA256:x"),
                     1);
    assert_int_equal(logged(begin, "refused: 1 key not accepted, the last SHA256:y"), 2);
    assert_int_equal(logged(begin, "login of anna from there refused: locked; 1 key not"), 1);
    assert_int_equal(logged(begin, "login of e?ve from there refused: no such user; 2 keys"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_passwords),
        cmocka_unit_test(one_slice_is_pbkdf2),
        cmocka_unit_test(bad_sums_are_refused),
        cmocka_unit_test_teardown(names_and_numbers, empty),
        cmocka_unit_test(the_last_administrator_stays),
        /* together less than the log lets through at once (control/refusal.h) */
        cmocka_unit_test_teardown(five_failures_lock, empty),
        cmocka_unit_test_teardown(refused_keys, empty),
        cmocka_unit_test_teardown(a_lock_is_kept, empty),
        cmocka_unit_test_teardown(a_barred_user_stays_out, empty),
        cmocka_unit_test_teardown(a_name_given_again_is_another_user, empty),
        cmocka_unit_test_teardown(keys_let_in, empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
