//! Which slot of a table a connect gets. Every algorithm costs the same however many slots there are.

use core::hint::black_box;

use crate::abi::{Address, Algorithm, GroupHeader, INDEXES, Port, Slot, Table};
use crate::decide::{Client, Tables};

/// A slot and its cell.
type At<'a> = (u32, &'a Slot);

/// Picks among the slots of the header at `cell`, of which there are some. `extra` is the header's, or 0.
#[inline(always)]
pub(crate) fn pick<'a, T: Tables>(
    tables: &'a T,
    cell: u32,
    header: &GroupHeader,
    extra: u32,
    client: &mut impl Client,
) -> Option<At<'a>> {
    let table = header.table(cell);
    if table.slots == 1 {
        return at(tables, &table, 0);
    }
    let index = match header.algorithm() {
        Algorithm::Random => return draw(tables, &table, client.random()),
        Algorithm::LeastRequest => return draw_two(tables, &table, client),
        Algorithm::RoundRobin => {
            let turn = client.turn(header.service());
            look_up(tables, cell, &table, extra, |len| turn.checked_rem(len))
        }
        Algorithm::SourceHash => {
            let hash = u64::from(client.source());
            look_up(tables, cell, &table, extra, |len| {
                Some(((hash * u64::from(len)) >> 32) as u32)
            })
        }
    };
    at(tables, &table, index?)
}

#[inline(always)]
fn at<'a, T: Tables>(tables: &'a T, table: &Table, index: u32) -> Option<At<'a>> {
    let cell = table.first.wrapping_add(index);
    Some((cell, tables.slot(cell)?))
}

/// Draws from an alias table. The high half of `random` × slots picks the column (Lemire's multiplication), and the low
/// half, which is where `random` lies within the column, decides between the column's own endpoint and its alias. Each
/// endpoint's probability is off by less than slots / 2³¹.
#[inline(always)]
fn draw<'a, T: Tables>(tables: &'a T, table: &Table, random: u32) -> Option<At<'a>> {
    let product = u64::from(random) * u64::from(table.slots);
    let own = at(tables, table, (product >> 32) as u32)?;
    let within = (u64::from(product as u32) * u64::from(table.total)) >> 32;
    if (within as u32) < own.1.threshold() {
        return Some(own);
    }
    at(tables, table, own.1.alias())
}

/// Of two that are drawn by weight, the one with fewer connections for its weight. Both of one pool: a pool gets what its
/// weight says, however busy others are. The first where they are equally busy, so that weights hold exactly while nothing
/// is open.
#[inline(always)]
fn draw_two<'a, T: Tables>(
    tables: &'a T,
    table: &Table,
    client: &mut impl Client,
) -> Option<At<'a>> {
    let first = draw(tables, table, client.random())?;
    let second = draw(tables, table, client.random())?;
    if first.0 == second.0 || first.1.pool() == 0 || first.1.pool() != second.1.pool() {
        return Some(first);
    }
    let busy = |slot: &Slot, other: &Slot| {
        u64::from(tables.open(slot.endpoint())) * u64::from(other.weight())
    };
    if busy(second.1, first.1) < busy(first.1, second.1) {
        Some(second)
    } else {
        Some(first)
    }
}

/// What the index table says at the place that is chosen by its length; without one, the place itself.
#[inline(always)]
fn look_up<T: Tables>(
    tables: &T,
    cell: u32,
    table: &Table,
    extra: u32,
    choose: impl Fn(u32) -> Option<u32>,
) -> Option<u32> {
    let extra = if extra == 0 {
        None
    } else {
        Some(tables.extra(extra)?)
    };
    let Some(extra) = extra.filter(|extra| extra.index_len > 0) else {
        return choose(table.slots);
    };
    let place = choose(extra.index_len)?;
    let first = cell.wrapping_add(extra.index_first);
    let indexes = tables
        .cell(first.wrapping_add(place / INDEXES))?
        .as_indexes();
    indexes
        .get((place % INDEXES) as usize)
        .copied()
        .map(u32::from)
}

/// Halvings, which leave nothing of a table of a million slots; verifiers look at each. In a larger one, what is not found is
/// drawn anew.
const HALVINGS: u32 = 20;

/// The slot of the endpoint at that place. Slots are in the order of address and port.
#[inline(always)]
pub(crate) fn search<'a, T: Tables>(
    tables: &'a T,
    table: &Table,
    (address, port): (Address, Port),
) -> Option<At<'a>> {
    let (mut low, mut high) = (0, table.slots);
    for _ in 0..HALVINGS {
        if low >= high {
            break;
        }
        let middle = low + (high - low) / 2;
        let (_, slot) = at(tables, table, middle)?;
        let mask = mask_if_before((slot.address(), slot.port()), (address, port));
        low += (middle + 1 - low) & mask;
        high = middle + ((high - middle) & mask);
    }
    if low >= table.slots {
        return None;
    }
    let found = at(tables, table, low)?;
    ((found.1.address(), found.1.port()) == (address, port)).then_some(found)
}

/// All ones where one place comes before another, else 0. Without a branch: verifiers look at all ways through all halvings.
#[inline(always)]
fn mask_if_before(one: (Address, Port), other: (Address, Port)) -> u32 {
    let ([high, low], [other_high, other_low]) = (one.0.numbers(), other.0.numbers());
    // In the upper bits, as the compiler makes a branch of what borrows between numbers that it knows to be small.
    let of_port = |port: Port| u64::from(port.get()) << 48;
    let borrowed = borrow(of_port(one.1), of_port(other.1), 0);
    let borrowed = borrow(low, other_low, borrowed);
    let borrowed = borrow(high, other_high, borrowed);
    // Or else the compiler makes branches of it.
    black_box(0_u32.wrapping_sub(borrowed as u32))
}

/// What a digit is short of in a subtraction of numbers of 64-bit digits: 1 or 0.
#[inline(always)]
const fn borrow(digit: u64, other: u64, borrowed: u64) -> u64 {
    let difference = digit.wrapping_sub(other).wrapping_sub(borrowed);
    ((!digit & other) | (!(digit ^ other) & difference)) >> 63
}
