/* links: storage/ovf.c storage/ovf_write.c storage/xml.c storage/digest.c storage/tar.c storage/ram_disk.c storage/iov.c storage/disk.c storage/disk_wait.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Descriptors, manifests and archives of OVF packages: as other programs write them, and hostile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/digest.h"
#include "storage/ovf.h"
#include "storage/ram_disk.h"
#include "storage/tar.h"
#include "storage/xml.h"

static struct ovf o;
static char error[OVF_ERROR];

static enum hv_status read_text(const char *text)
{
    enum hv_status status = ovf_read(text, strlen(text), &o, error);

    if (status != HV_OK)
        print_message("%s\n", error);
    return status;
}

/* In the manner of VirtualBox 6: version 1.0, controllers, a sound card, a section of its own. */
static const char virtualbox[] =
    "<?xml version=\"1.0\"?>\n"
    "<Envelope ovf:version=\"1.0\" xml:lang=\"en-US\" xmlns=\"u\" xmlns:ovf=\"u\" xmlns:rasd=\"v\">"
    "<References><File ovf:id=\"file1\" ovf:href=\"a-disk001.vmdk\"/></References>"
    "<DiskSection><Info>List of the virtual disks</Info>"
    "<Disk ovf:capacity=\"8589934592\" ovf:diskId=\"vmdisk1\" ovf:fileRef=\"file1\" "
    "ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\" "
    "vbox:uuid=\"x\"/></DiskSection>"
    "<NetworkSection><Info>n</Info><Network ovf:name=\"NAT\"/></NetworkSection>"
    "<VirtualSystem ovf:id=\"debian &amp; co\"><Info>A virtual machine</Info>"
    "<VirtualHardwareSection><Info>i</Info>"
    "<Item><rasd:Caption>2 virtual CPU</rasd:Caption><rasd:ElementName>2 virtual "
    "CPU</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3"
    "</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>"
    "<Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:ElementName>1024 MB"
    "</rasd:ElementName><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>1024"
    "</rasd:VirtualQuantity></Item>"
    "<Item><rasd:ElementName>sata0</rasd:ElementName><rasd:ResourceType>20</rasd:ResourceType>"
    "</Item><Item><rasd:ElementName>disk1</rasd:ElementName><rasd:HostResource>/disk/vmdisk1"
    "</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></Item>"
    "<Item><rasd:ElementName>sound</rasd:ElementName><rasd:ResourceType>35</rasd:ResourceType>"
    "</Item><Item><rasd:ElementName>Ethernet</rasd:ElementName><rasd:ResourceType>10"
    "</rasd:ResourceType></Item></VirtualHardwareSection>"
    "<vbox:Machine ovf:required=\"false\"><Hardware><Item/></Hardware></vbox:Machine>"
    "</VirtualSystem></Envelope>";

static void virtualboxes_descriptor(void **state)
{
    (void)state;
    assert_int_equal(read_text(virtualbox), HV_OK);
    assert_string_equal(o.name, "debian & co");
    assert_int_equal(o.cpus, 2);
    assert_int_equal(o.memory, GIB);
    assert_int_equal(o.nics, 1);
    assert_int_equal(o.disk_count, 1);
    assert_string_equal(o.disk[0].file, "a-disk001.vmdk");
    assert_int_equal(o.disk[0].capacity, 8 * GIB);
    assert_int_equal(o.note_count, 1);
    assert_string_equal(o.note[0], "sound: sound");
}

static const char frame[] =
    "<Envelope><References><File href=\"%s\" id=\"f\"%s/></References><DiskSection>"
    "<Disk capacity=\"%s\" capacityAllocationUnits=\"%s\" diskId=\"d\" fileRef=\"f\"%s/>"
    "</DiskSection><VirtualSystem id=\"a\">%s<VirtualHardwareSection>"
    "<Item><ResourceType>3</ResourceType><VirtualQuantity>1</VirtualQuantity></Item>"
    "<Item><ResourceType>4</ResourceType><VirtualQuantity>64</VirtualQuantity>"
    "<AllocationUnits>byte * 2^20</AllocationUnits></Item>"
    "<Item><ElementName>hd</ElementName><HostResource>ovf:/disk/d</HostResource>"
    "<ResourceType>17</ResourceType></Item>%s</VirtualHardwareSection></VirtualSystem></Envelope>";

static enum hv_status with(const char *href, const char *file, const char *capacity,
                           const char *units, const char *disk, const char *section,
                           const char *items)
{
    char text[4096];

    snprintf(text, sizeof(text), frame, href, file, capacity, units, disk, section, items);
    return read_text(text);
}

static void what_we_do_not_have_is_refused_by_name(void **state)
{
    (void)state;
    assert_int_equal(with("a.vmdk", "", "10", "byte * 2^30", "", "", ""), HV_OK);
    assert_int_equal(o.disk[0].capacity, 10 * GIB);
    assert_int_equal(o.memory, 64 * MIB);
    assert_int_equal(with("../a.vmdk", "", "10", "byte * 2^30", "", "", ""), HV_ENOSYS);
    assert_int_equal(with("a", " compression=\"gzip\"", "10", "byte * 2^30", "", "", ""),
                     HV_ENOSYS);
    assert_int_equal(with("a", "", "10", "byte * 2^30", " parentRef=\"x\"", "", ""), HV_ENOSYS);
    assert_int_equal(with("a", "", "10", "byte * 2^30", " format=\"http://qcow2\"", "", ""),
                     HV_ENOSYS);
    assert_non_null(strstr(error, "http://qcow2"));
    assert_int_equal(with("a", "", "99999999999999999999", "byte * 2^30", "", "", ""), HV_ECORRUPT);
    assert_int_equal(with("a", "", "10", "furlong", "", "", ""), HV_ECORRUPT);
    assert_int_equal(with("a", "", "1024", "", "", "<FancySection/>", ""), HV_ENOSYS);
    assert_non_null(strstr(error, "FancySection"));
    assert_int_equal(with("a", "", "1024", "", "", "<FancySection required=\"false\"/>", ""),
                     HV_OK);
    static const char tpm[] = "<Item%s><ElementName>my TPM</ElementName>"
                              "<ResourceType>42</ResourceType></Item>";
    char item[200];
    snprintf(item, sizeof(item), tpm, "");
    assert_int_equal(with("a", "", "1024", "", "", "", item), HV_ENOSYS);
    assert_non_null(strstr(error, "my TPM"));
    snprintf(item, sizeof(item), tpm, " required=\"false\"");
    assert_int_equal(with("a", "", "1024", "", "", "", item), HV_OK);
    assert_string_equal(o.note[0], "my TPM: not needed");
    assert_int_equal(with("a", "", "1024", "", "", "",
                          "<Item><ElementName>x</ElementName>"
                          "<HostResource>ovf:/disk/e</HostResource><ResourceType>17"
                          "</ResourceType></Item>"),
                     HV_ECORRUPT);
    assert_int_equal(read_text("<Envelope><VirtualSystemCollection/></Envelope>"), HV_ENOSYS);
    assert_int_equal(read_text("<Envelope/>"), HV_ECORRUPT);
    assert_int_equal(read_text("<html/>"), HV_ECORRUPT);
}

static void xml_that_is_none(void **state)
{
    static const char *const texts[] = {
        "",
        "x",
        "<a",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a b=c/>",
        "<a b='c/>",
        "<a>&x;</a>",
        "<!DOCTYPE a><a/>",
        "<a>&#0;",
        "<a><!-- </a>",
        "<a><![CDATA[",
        "<a b='<'/>",
        "</a>",
        "<a/>text",
        "<a>&#xffffffff;</a>",
    };
    struct xml *x = malloc(sizeof(*x));
    enum xml_item item;

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(texts); i++) {
        xml_begin(x, texts[i], strlen(texts[i]));
        while ((item = xml_next(x)) != XML_END && item != XML_BAD)
            ;
        if (item != XML_BAD)
            print_message("taken: %s\n", texts[i]);
        assert_int_equal(item, XML_BAD);
        assert_non_null(x->why);
    }
    static const char good[] =
        "<?xml?><!-- c --><p:a q:b='1&lt;2' ><c/>t&#x41;<![CDATA[<&]]></p:a> ";
    xml_begin(x, good, strlen(good));
    assert_int_equal(xml_next(x), XML_OPEN);
    assert_string_equal(x->name, "a");
    assert_string_equal(xml_attribute(x, "b"), "1<2");
    assert_int_equal(xml_next(x), XML_OPEN);
    assert_int_equal(x->depth, 2);
    assert_int_equal(xml_next(x), XML_CLOSE);
    assert_int_equal(xml_next(x), XML_TEXT);
    assert_string_equal(x->value, "tA");
    assert_int_equal(xml_next(x), XML_TEXT);
    assert_string_equal(x->value, "<&");
    assert_int_equal(xml_next(x), XML_CLOSE);
    assert_string_equal(x->name, "a");
    assert_int_equal(xml_next(x), XML_END);
    free(x);
}

static void what_we_write_is_read_again(void **state)
{
    static char text[32 * KIB];
    struct ovf mine = {.name = "a<b>&\"c\"",
                       .cpus = 3,
                       .memory = 512 * MIB,
                       .disk_count = 2,
                       .nics = 2,
                       .nvram = "a&b.nvram",
                       .nvram_size = 300,
                       .settings = "kernel: k\ncmdline: a=\"b\" <c>\n"};

    (void)state;
    for (u32 i = 0; i < 2; i++) {
        snprintf(mine.disk[i].file, OVF_NAME, "d-%u.vmdk", i);
        mine.disk[i].capacity = (i + 1) * GIB;
        mine.disk[i].file_size = 1234 + i;
    }
    u32 n = ovf_write(text, sizeof(text), &mine);
    assert_true(n < sizeof(text));
    assert_int_equal(read_text(text), HV_OK);
    assert_string_equal(o.name, mine.name);
    assert_string_equal(o.settings, mine.settings);
    assert_string_equal(o.nvram, mine.nvram);
    assert_int_equal(o.cpus, 3);
    assert_int_equal(o.memory, 512 * MIB);
    assert_int_equal(o.nics, 2);
    assert_int_equal(o.disk_count, 2);
    assert_memory_equal(&o.disk[1], &mine.disk[1], sizeof(mine.disk[1]));
    FILE *f =
        popen("python3 -c 'import sys,xml.dom.minidom as m;m.parseString(sys.stdin.read())'", "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(pclose(f), 0);
}

static void manifests(void **state)
{
    static const char text[] = "SHA256(a.ovf)= e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495"
                               "991b7852b855\r\n\nSHA1 (b c.vmdk) = "
                               "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709\nMD5(x)= 00\nnonsense";
    const char *at = text, *end = text + strlen(text);
    struct digest_line line;
    struct disk *d = ram_disk_open("d", 1000, 1, MIB);
    char hex[DIGEST_HEX];

    (void)state;
    assert_int_equal(digest_read_line(&at, end, &line), HV_OK);
    assert_string_equal(line.name, "a.ovf");
    assert_int_equal(digest_of(d, 0, line.kind, hex, NULL, NULL), HV_OK);
    assert_string_equal(line.hex, hex);
    assert_int_equal(digest_read_line(&at, end, &line), HV_OK);
    assert_string_equal(line.name, "b c.vmdk");
    assert_int_equal(digest_of(d, 0, line.kind, hex, NULL, NULL), HV_OK);
    assert_string_equal(line.hex, hex);
    assert_int_equal(digest_read_line(&at, end, &line), HV_ENOSYS);
    assert_int_equal(digest_read_line(&at, end, &line), HV_EINVAL);
    assert_int_equal(digest_read_line(&at, end, &line), HV_ENOENT);
    assert_int_equal(disk_write(d, 0, "abc", 3), HV_OK);
    assert_int_equal(digest_of(d, 3, DIGEST_SHA512, hex, NULL, NULL), HV_OK);
    assert_memory_equal(hex, "ddaf35a193617aba", 16);
    assert_int_equal(digest_of(d, 3, DIGEST_SHA1, hex, NULL, NULL), HV_OK);
    assert_string_equal(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_int_equal(disk_close(d), HV_OK);
}

static void archives(void **state)
{
    struct disk *d = ram_disk_open("d", 0, 1, MIB);
    struct tar_member m[4];
    u8 b[TAR_BLOCK], zeros[TAR_BLOCK] = {0};
    u32 count;

    (void)state;
    d->growable = true;
    tar_header(b, "app.ovf", 700);
    assert_int_equal(disk_write(d, 0, b, TAR_BLOCK), HV_OK);
    assert_int_equal(disk_write(d, 512, zeros, TAR_BLOCK), HV_OK);
    assert_int_equal(disk_write(d, 1024, zeros, TAR_BLOCK), HV_OK);
    tar_header(b, "big", 3ull << 33);
    assert_int_equal(disk_write(d, 1536, b, TAR_BLOCK), HV_OK);
    assert_int_equal(disk_write(d, 2048, zeros, TAR_BLOCK), HV_OK);
    assert_int_equal(tar_read(d, m, 4, &count), HV_ECORRUPT); /* leaves the file */
    assert_int_equal(count, 1);
    assert_string_equal(m[0].name, "app.ovf");
    assert_int_equal(m[0].offset, 512);
    assert_int_equal(m[0].size, 700);
    tar_header(b, "c", 5);
    assert_int_equal(disk_write(d, 1536, b, TAR_BLOCK), HV_OK);
    assert_int_equal(tar_read(d, m, 4, &count), HV_OK);
    assert_int_equal(count, 2);
    assert_int_equal(tar_read(d, m, 1, &count), HV_E2BIG);
    b[3] ^= 1;
    assert_int_equal(disk_write(d, 1536, b, TAR_BLOCK), HV_OK);
    assert_int_equal(tar_read(d, m, 4, &count), HV_ECORRUPT);
    assert_int_equal(disk_close(d), HV_OK);
}

/* Any byte of a descriptor changed, cut or doubled: an answer, and never more than one machine. */
static void a_damaged_descriptor_does_no_harm(void **state)
{
    char text[2 * sizeof(virtualbox)];
    u32 seed = 1;

    (void)state;
    for (u32 i = 0; i < 20000; i++) {
        u64 len = sizeof(virtualbox) - 1;

        memcpy(text, virtualbox, len);
        for (u32 n = 0; n < 1 + i % 3; n++) {
            seed = seed * 1664525 + 1013904223;
            text[(seed >> 8) % len] = (char)(seed >> 3 & (i % 2 ? 0xff : 0x3f));
        }
        if (i % 5 == 0)
            len = (seed >> 8) % len;
        enum hv_status status = ovf_read(text, len, &o, error);
        assert_true(status == HV_OK || error[0]);
        assert_true(o.disk_count <= OVF_DISKS && o.note_count <= OVF_NOTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(virtualboxes_descriptor),
        cmocka_unit_test(what_we_do_not_have_is_refused_by_name),
        cmocka_unit_test(xml_that_is_none),
        cmocka_unit_test(what_we_write_is_read_again),
        cmocka_unit_test(manifests),
        cmocka_unit_test(archives),
        cmocka_unit_test(a_damaged_descriptor_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
