//! A memory-mapped array map: elements read and written without a system call.
#![expect(unsafe_code, reason = "shared memory with the kernel")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use agent_common::abi::EndpointState;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// All elements of an array map made with `BPF_F_MMAPABLE`. Each element lies at a multiple of its size, which must be a
/// multiple of 8: the kernel rounds up to that.
#[derive(Debug)]
pub(super) struct Mapping<T> {
    base: NonNull<T>,
    elements: u32,
    element: PhantomData<T>,
}

// SAFETY: the mapping is owned, and `T` is plain data.
unsafe impl<T: Send> Send for Mapping<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Sync> Sync for Mapping<T> {}

impl<T> Mapping<T> {
    const CHECK: () = assert!(size_of::<T>().is_multiple_of(8));

    /// Maps `elements` elements of the map behind `fd`.
    pub(super) fn new(fd: impl AsFd, elements: u32) -> io::Result<Self> {
        let () = Self::CHECK;
        let length = elements as usize * size_of::<T>();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe { mmap(null_mut(), length, access, MapFlags::SHARED, fd, 0) }?;
        Ok(Self {
            base: NonNull::new(base.cast()).expect("mmap does not give null"),
            elements,
            element: PhantomData,
        })
    }

    pub(super) fn len(&self) -> u32 {
        self.elements
    }

    /// An element that kernel programs only read. `&mut self` is needed to write it, unless it is atomic, so it does not
    /// change meanwhile.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: within the mapping, which is page-aligned; every bit pattern is a `T`.
        (index < self.elements).then(|| unsafe { self.base.add(index as usize).as_ref() })
    }
}

impl<T: Copy> Mapping<T> {
    /// A copy of an element that kernel programs may write at any time; words of it may be of different ages.
    pub(super) fn copy(&self, index: u32) -> Option<T> {
        // SAFETY: as for `get`.
        (index < self.elements).then(|| unsafe { self.base.add(index as usize).read_volatile() })
    }

    /// The elements from `first` on.
    pub(super) fn write(&mut self, first: u32, values: &[T]) {
        let end = first as usize + values.len();
        assert!(
            end <= self.elements as usize,
            "cells are allocated within the arena"
        );
        for (i, value) in values.iter().enumerate() {
            // SAFETY: within the mapping.
            unsafe { self.base.add(first as usize + i).write_volatile(*value) };
        }
    }
}

impl Mapping<EndpointState> {
    /// Adds to a count of open records, which programs change meanwhile. A difference below zero wraps around.
    pub(super) fn change_open(&self, index: u32, difference: u32) {
        if index < self.elements {
            // SAFETY: within the mapping, and aligned as the structure is; programs change the word by atomic additions too.
            let open = unsafe {
                let state = self.base.as_ptr().add(index as usize);
                AtomicU32::from_ptr(&raw mut (*state).open)
            };
            open.fetch_add(difference, Ordering::Relaxed);
        }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        let length = self.elements as usize * size_of::<T>();
        // SAFETY: the mapping that `new` made; nobody can borrow from it any more.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), length) } {
            tracing::debug!(%error, "unmapping a map");
        }
    }
}
