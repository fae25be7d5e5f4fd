//! From a program to the kernel: what must change, and the one adapter that changes it. All of aya is here.
