// A disk small enough to fill: a tmpfs of a few megabytes.
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { owned } from './scope.mjs';
import { temporaryDirectory } from './server.mjs';

/** Mounts a tmpfs. This requires root; without it, the error says so. */
export function smallDisk(megabytes) {
  const dir = temporaryDirectory();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', dir], { stdio: 'pipe' });
  } catch (error) {
    throw new Error(`this test mounts a small tmpfs and hence needs root: ${error.stderr ?? error}`);
  }
  owned({ close: () => execFileSync('umount', ['--lazy', dir]) });
  return dir;
}

/** Fills the rest of `dir`; returns a function that frees the space. */
export function fill(dir) {
  const path = join(dir, 'filler');
  const file = openSync(path, 'w');
  // Fill it to the last byte: the rest of the last block would be enough for a small write.
  for (let block = Buffer.alloc(64 * 1024); block.length > 0;) {
    try {
      if (writeSync(file, block) < block.length) block = block.subarray(block.length >> 1);
    } catch (error) {
      if (error.code !== 'ENOSPC') throw error;
      block = block.subarray(0, block.length >> 1);
    }
  }
  closeSync(file);
  return () => rmSync(path);
}
