//! The services that are measured: number `n` has the address 10.`n` on port 80, where `n` is three octets.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use agent::compile::Program;
use agent_common::abi::{TCP, UDP};
use tests::programs::{balance, frontend};

const PORT: u16 = 80;

pub(crate) fn vip(number: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + number), PORT)
}

/// So many services whose one endpoint is `to`.
pub(crate) fn program(count: u32, to: SocketAddr) -> Program {
    let mut program = Program::default();
    for number in 0..count {
        let at = frontend(vip(number).into(), TCP);
        balance(&mut program, &format!("s{number}.test"), at, &[(to, 1)]);
    }
    program
}

/// One service for datagrams, whose one endpoint is `to`.
pub(crate) fn datagrams(to: SocketAddr) -> Program {
    let mut program = Program::default();
    let at = frontend(vip(0).into(), UDP);
    balance(&mut program, "datagrams.test", at, &[(to, 1)]);
    program
}

/// The same as objects, with so many endpoints each.
pub(crate) fn objects(count: u32, endpoints: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        write_object(&mut text, number, endpoints).expect("a string takes everything");
    }
    text
}

fn write_object(text: &mut String, number: u32, endpoints: u32) -> std::fmt::Result {
    let address = vip(number).ip().to_string();
    write!(
        text,
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: s{number}, namespace: default}}\nspec:\n  hosts: [s{number}.test]\n  \
         addresses: [{address}]\n  ports: [{{number: {PORT}, name: tcp, protocol: TCP}}]\n  \
         resolution: STATIC\n  endpoints:\n"
    )?;
    for endpoint in 0..endpoints {
        let address = Ipv4Addr::from(0xac10_0000 + (number * endpoints + endpoint) % 0xf_ffff);
        writeln!(text, "  - {{address: {address}}}")?;
    }
    Ok(())
}
