/* links: control/users.c control/password.c control/schema.c control/rt/random.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "control/password.h"
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

static void five_failures_lock(void **state)
{
    enum schema_role role = ROLE_VIEW;
    struct user *u;

    (void)state;
    assert_int_equal(users_add("anna", ROLE_ADMIN, &u), HV_OK);
    assert_false(users_check("anna", "", "here", &role)); /* no password is no empty one */
    assert_int_equal(users_set_password(u, "short"), HV_EINVAL);
    assert_int_equal(users_set_password(u, "long enough"), HV_OK);
    for (u32 i = 0; i < USERS_FAILURES - 1; i++)
        assert_false(users_check("anna", "wrong", "here", &role));
    assert_true(users_check("anna", "long enough", "here", &role)); /* counts anew */
    assert_int_equal(role, ROLE_ADMIN);
    for (u32 i = 0; i < USERS_FAILURES; i++) {
        assert_false(users_locked(u));
        assert_false(users_check("anna", "wrong", "here", &role));
    }
    assert_true(users_locked(u));
    assert_false(users_check("anna", "long enough", "here", &role));
    users_unlock(u);
    assert_true(users_check("anna", "long enough", "here", &role));
    assert_false(users_check("nobody", "long enough", "here", &role));
    assert_false(users_check("an\x1b[2Ja\n", "long enough", "here", &role));
}

static void keys_let_in(void **state)
{
    static const char key[] = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==";
    enum schema_role role = ROLE_VIEW;
    struct user *u;

    (void)state;
    assert_int_equal(users_add("anna", ROLE_OPERATE, &u), HV_OK);
    assert_int_equal(users_add_key(u, "rubbish"), HV_EINVAL);
    assert_int_equal(users_add_key(u, "ssh-ed25519 "), HV_EINVAL);
    assert_int_equal(users_add_key(u, "ssh-ed25519 AA'A"), HV_EINVAL);
    assert_int_equal(users_add_key(u, key), HV_OK);
    assert_true(users_check_key("anna", key, "there", false, &role));
    assert_int_equal(u->logins, 0);
    assert_true(users_check_key("anna", key, "there", true, &role));
    assert_int_equal(role, ROLE_OPERATE);
    assert_int_equal(u->logins, 1);
    assert_false(users_check_key("anna", "ssh-ed25519 AAAA", "there", true, &role));
    assert_false(users_check_key("bob", key, "there", true, &role));
    assert_int_equal(users_add_key(u, key), HV_OK);
    assert_int_equal(users_add_key(u, key), HV_OK);
    assert_int_equal(users_add_key(u, key), HV_OK);
    assert_int_equal(users_add_key(u, key), HV_E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_passwords),
        cmocka_unit_test(one_slice_is_pbkdf2),
        cmocka_unit_test(bad_sums_are_refused),
        cmocka_unit_test_teardown(names_and_numbers, empty),
        cmocka_unit_test(the_last_administrator_stays),
        cmocka_unit_test_teardown(five_failures_lock, empty),
        cmocka_unit_test_teardown(keys_let_in, empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
