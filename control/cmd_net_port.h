/* `net port`, `net policy`, `net shape`, `net link`, `net mirror`: one port and what it may do. */
#pragma once
