/* Reads images, config and guest files through the firmware's file system.  Called by main.c on
 * the boot CPU, before ExitBootServices. */
#include "boot/files.h"

#include <efi.h>
#include <efilib.h>

#include "boot/console.h"
#include "boot/memory.h"

#define FOLDER L"\\bulkhead"
#define READ_CHUNK (4 * MIB) /* some firmware fails on one read of a whole initramfs */
#define DEPTH_MAX 6          /* of folders under guests */

static EFI_FILE_HANDLE folder; /* \bulkhead, or NULL when there is none */

const char *files_open_volume(void *image)
{
    EFI_LOADED_IMAGE *loaded;
    EFI_FILE_IO_INTERFACE *volume;
    EFI_FILE_HANDLE root;

    if (EFI_ERROR(BS->HandleProtocol(image, &gEfiLoadedImageProtocolGuid, (void **)&loaded)))
        return "the firmware does not say what it started";
    if (EFI_ERROR(BS->HandleProtocol(loaded->DeviceHandle, &gEfiSimpleFileSystemProtocolGuid,
                                     (void **)&volume)))
        return "the loader was not started from a file system";
    if (EFI_ERROR(volume->OpenVolume(volume, &root)))
        return "the boot volume cannot be opened";
    if (EFI_ERROR(root->Open(root, &folder, FOLDER, EFI_FILE_MODE_READ, 0)))
        return "the boot volume has no folder \\bulkhead";
    return NULL;
}

/* Reads an open file to its end. */
static enum files_result read_whole(EFI_FILE_HANDLE file, u64 size, u32 type, void **data)
{
    /* One byte more than the file, so that even an empty one has memory; the tail is zero. */
    u8 *at = memory_alloc(size + 1, type, false);

    if (!at)
        return FILES_NO_MEMORY;
    for (u64 done = 0; done < size;) {
        UINTN chunk = MIN(size - done, READ_CHUNK);
        if (EFI_ERROR(file->Read(file, &chunk, at + done)) || chunk == 0)
            return FILES_FAILED;
        done += chunk;
    }
    *data = at;
    return FILES_OK;
}

static enum files_result file_size(EFI_FILE_HANDLE file, u64 *size)
{
    static u64 buffer[128]; /* EFI_FILE_INFO and a name of up to 255 characters */
    UINTN len = sizeof(buffer);
    EFI_FILE_INFO *info = (EFI_FILE_INFO *)buffer;

    if (EFI_ERROR(file->GetInfo(file, &gEfiFileInfoGuid, &len, info)))
        return FILES_FAILED;
    if (info->Attribute & EFI_FILE_DIRECTORY)
        return FILES_FAILED;
    *size = info->FileSize;
    return FILES_OK;
}

enum files_result files_read(const char *name, u32 type, void **data, u64 *len)
{
    CHAR16 wide[BOOT_NAME_LEN];
    EFI_FILE_HANDLE file;
    u32 i = 0;

    for (; name[i] && i < BOOT_NAME_LEN - 1; i++)
        wide[i] = name[i] == '/' ? '\\' : (CHAR16)name[i];
    wide[i] = 0;
    EFI_STATUS status = folder->Open(folder, &file, wide, EFI_FILE_MODE_READ, 0);
    if (EFI_ERROR(status))
        return status == EFI_NOT_FOUND ? FILES_ABSENT : FILES_FAILED;
    enum files_result result = file_size(file, len);
    if (result == FILES_OK)
        result = read_whole(file, *len, type, data);
    file->Close(file);
    return result;
}

static const char *const complaints[] = {
    [FILES_ABSENT] = "Bulkhead loader: no \\bulkhead\\%s, going on without",
    [FILES_FAILED] =
        "E_FILE: cannot read \\bulkhead\\%s. Try: check the disk, or copy the file to it again.",
    [FILES_NO_MEMORY] =
        "E_NO_MEMORY: \\bulkhead\\%s does not fit in memory. Try: more memory, or fewer files.",
};

static void add_module(struct boot_info *bi, const char *name)
{
    struct boot_module *m = &bi->modules[bi->module_count];
    void *data;
    u64 len;

    if (bi->module_count == BOOT_MODULES) {
        console_line("E_TOO_MANY_FILES: \\bulkhead\\%s is left out, %u files are the limit. "
                     "Try: fewer files in \\bulkhead\\guests.",
                     name, (u64)BOOT_MODULES);
        return;
    }
    enum files_result result = files_read(name, BOOT_MEM_IMAGE, &data, &len);
    if (result != FILES_OK) {
        console_line(complaints[result], name);
        return;
    }
    for (u32 i = 0; name[i] && i < BOOT_NAME_LEN - 1; i++)
        m->name[i] = name[i];
    m->paddr = (u64)data;
    m->len = len;
    bi->module_count++;
}

/* path + '/' + name as ASCII.  False: too long, or a character outside printable ASCII. */
static bool join(char *out, const char *path, const CHAR16 *name)
{
    u32 len = 0;

    while (path[len]) {
        out[len] = path[len];
        len++;
    }
    out[len++] = '/';
    for (; *name; name++) {
        if (len >= BOOT_NAME_LEN - 1 || *name < ' ' || *name > '~')
            return false;
        out[len++] = (char)*name;
    }
    out[len] = 0;
    return true;
}

static bool is_dots(const CHAR16 *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

static void load_folder(struct boot_info *bi, EFI_FILE_HANDLE parent, CHAR16 *dir, const char *path,
                        u32 depth)
{
    u64 buffer[128];
    EFI_FILE_INFO *info = (EFI_FILE_INFO *)buffer;
    EFI_FILE_HANDLE handle;
    char name[BOOT_NAME_LEN];
    UINTN len;

    if (depth > DEPTH_MAX || EFI_ERROR(parent->Open(parent, &handle, dir, EFI_FILE_MODE_READ, 0)))
        return;
    while (len = sizeof(buffer), !EFI_ERROR(handle->Read(handle, &len, info)) && len != 0) {
        if (is_dots(info->FileName))
            continue;
        if (!join(name, path, info->FileName)) {
            console_line("E_FILE_NAME: a file in \\bulkhead\\%s is left out, its name is too long "
                         "or not plain ASCII. Try: rename it.",
                         path);
            continue;
        }
        if (info->Attribute & EFI_FILE_DIRECTORY)
            load_folder(bi, handle, info->FileName, name, depth + 1);
        else
            add_module(bi, name);
    }
    handle->Close(handle);
}

void files_load_modules(struct boot_info *bi)
{
    static const char config[] = "bulkhead.conf";

    add_module(bi, config);
    if (bi->module_count == 0) { /* module 0 is the config, even when it is empty */
        __builtin_memcpy(bi->modules[0].name, config, sizeof(config));
        bi->module_count = 1;
    }
    load_folder(bi, folder, L"guests", "guests", 1);
}
