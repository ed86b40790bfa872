/* Keys of the host and of users as text; called by ssh_session.c and by commands. */
#include "control/ssh_keys.h"

#include <stdio.h>
#include <string.h>

#define BEGIN "-----BEGIN OPENSSH PRIVATE KEY-----\n"
#define END "-----END OPENSSH PRIVATE KEY-----\n"

void ssh_keys_start(void)
{
    static bool started;

    if (!started && ssh_init() == SSH_OK)
        started = true;
}

ssh_key ssh_keys_host(const char *text)
{
    char whole[SSH_KEYS_HOST + sizeof(BEGIN) + sizeof(END) + 2];
    ssh_key key = NULL;

    ssh_keys_start();
    snprintf(whole, sizeof(whole), BEGIN "%s\n" END, text);
    return ssh_pki_import_privkey_base64(whole, NULL, NULL, NULL, &key) == SSH_OK ? key : NULL;
}

bool ssh_keys_is_host(const char *text)
{
    ssh_key key = strlen(text) < SSH_KEYS_HOST ? ssh_keys_host(text) : NULL;

    if (!key)
        return false;
    ssh_key_free(key);
    return true;
}

bool ssh_keys_new_host(char text[SSH_KEYS_HOST])
{
    ssh_key key = NULL;
    char *whole = NULL;
    u32 n = 0;

    ssh_keys_start();
    if (ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &key) != SSH_OK)
        return false;
    bool fine = ssh_pki_export_privkey_base64(key, NULL, NULL, NULL, &whole) == SSH_OK &&
                !strncmp(whole, BEGIN, sizeof(BEGIN) - 1);
    for (const char *p = fine ? whole + sizeof(BEGIN) - 1 : ""; *p && *p != '-'; p++) {
        if (*p != '\n' && n + 1 < SSH_KEYS_HOST)
            text[n++] = *p;
    }
    text[n] = 0;
    if (whole)
        memset(whole, 0, strlen(whole));
    ssh_string_free_char(whole);
    ssh_key_free(key);
    return fine;
}

void ssh_keys_fingerprint(ssh_key key, char *buf, u32 len)
{
    unsigned char *hash = NULL;
    size_t n = 0;
    char *shown = NULL;

    if (ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &n) == SSH_OK)
        shown = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, n);
    snprintf(buf, len, "%s", shown ? shown : "?");
    ssh_string_free_char(shown);
    ssh_clean_pubkey_hash(&hash);
}

bool ssh_keys_host_fingerprint(const char *text, char *buf, u32 len)
{
    ssh_key key = ssh_keys_host(text);

    if (!key)
        return false;
    ssh_keys_fingerprint(key, buf, len);
    ssh_key_free(key);
    return true;
}

bool ssh_keys_user_fingerprint(const char *text, char *buf, u32 len)
{
    u32 n = (u32)strcspn(text, " ");
    char type[40];
    ssh_key key = NULL;

    ssh_keys_start();
    snprintf(type, sizeof(type), "%.*s", (int)n, text);
    if (!text[n] ||
        ssh_pki_import_pubkey_base64(text + n + 1, ssh_key_type_from_name(type), &key) != SSH_OK)
        return false;
    ssh_keys_fingerprint(key, buf, len);
    ssh_key_free(key);
    return true;
}
