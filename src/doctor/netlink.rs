//! The few requests of rtnetlink(7) that a network plugin makes, in this process's network namespace.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// linux/rtnetlink.h, linux/if_link.h, linux/veth.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
/// Asked for here only; gVisor takes it for a part of the number.
const NESTED: u16 = 0x8000;
const HEADER_BYTES: usize = 16;

/// A message under construction: a header, `struct ifinfomsg`, attributes.
struct Message(Vec<u8>);

impl Message {
    fn about_link(kind: u16, flags: i32, family: u8, index: u32) -> Message {
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or(0);
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(interface(family, index));
        Message(bytes)
    }

    fn with(mut self, kind: u16, content: &[u8]) -> Message {
        self.0.extend(attribute(kind, content));
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(0).to_ne_bytes();
        self.0[..len.len()].copy_from_slice(&len);
        self.0
    }
}

/// `struct ifinfomsg`.
fn interface(family: u8, index: u32) -> Vec<u8> {
    let mut bytes = vec![family, 0, 0, 0];
    bytes.extend(index.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// `struct rtattr` and its content, padded to a multiple of four.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len() + 4).unwrap_or(0);
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The errno of an answer to a request that wants one.
fn outcome(answer: &[u8]) -> nix::Result<()> {
    let code = answer.get(HEADER_BYTES..HEADER_BYTES + 4).and_then(|bytes| bytes.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw(-code)),
        None => Err(Errno::EPROTO),
    }
}

/// A socket of rtnetlink's.
pub struct Netlink(OwnedFd);

impl Netlink {
    pub fn open() -> nix::Result<Netlink> {
        let kind =
            (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
        let socket = socket(kind.0, kind.1, kind.2, kind.3)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Netlink(socket))
    }

    fn request(&self, message: Message) -> nix::Result<()> {
        send(self.0.as_raw_fd(), &message.finish(), MsgFlags::empty())?;
        let mut answer = [0; 1024];
        let len = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        outcome(&answer[..len])
    }

    fn create(&self, name: &str, kind: &str, data: &[u8]) -> nix::Result<()> {
        let kind = attribute(IFLA_INFO_KIND, kind.as_bytes());
        let data = if data.is_empty() { Vec::new() } else { attribute(IFLA_INFO_DATA, data) };
        let message = Message::about_link(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, 0, 0)
            .with(IFLA_IFNAME, &c_string(name))
            .with(IFLA_LINKINFO, &[kind, data].concat());
        self.request(message)
    }

    /// What the kernel says to a bridge that there is none of, and that is not to be made: ENODEV where it knows bridges.
    pub fn ask_about_bridges(&self) -> nix::Result<()> {
        let message = Message::about_link(libc::RTM_NEWLINK, 0, 0, 0)
            .with(IFLA_IFNAME, &c_string("fsmasq-doctor0"))
            .with(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"bridge"));
        match self.request(message) {
            Err(Errno::ENODEV) => Ok(()),
            answer => answer,
        }
    }

    pub fn create_bridge(&self, name: &str) -> nix::Result<()> {
        self.create(name, "bridge", &[])
    }

    pub fn create_pair(&self, name: &str, peer: &str) -> nix::Result<()> {
        let peer = [interface(0, 0), attribute(IFLA_IFNAME, &c_string(peer))].concat();
        self.create(name, "veth", &attribute(VETH_INFO_PEER, &peer))
    }

    /// Plugs an interface into a bridge.
    pub fn plug(&self, name: &str, bridge: &str) -> nix::Result<()> {
        let message = Message::about_link(libc::RTM_NEWLINK, 0, 0, index(name)?);
        self.request(message.with(IFLA_MASTER, &index(bridge)?.to_ne_bytes()))
    }

    /// Has a bridge send frames back by the port that they came by.
    pub fn set_hairpin(&self, name: &str) -> nix::Result<()> {
        let family = u8::try_from(libc::AF_BRIDGE).unwrap_or(0);
        let message = Message::about_link(libc::RTM_SETLINK, 0, family, index(name)?);
        self.request(message.with(IFLA_PROTINFO | NESTED, &attribute(IFLA_BRPORT_MODE, &[1])))
    }
}

fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn index(name: &str) -> nix::Result<u32> {
    nix::net::if_::if_nametoindex(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_count_their_head_only() {
        assert_eq!(attribute(3, b"ab\0"), [[7, 0, 3, 0], [b'a', b'b', 0, 0]].concat());
        assert_eq!(attribute(10, &[1, 0, 0, 0]).len(), 8);
        let message = Message::about_link(libc::RTM_NEWLINK, 0, 0, 5).with(IFLA_IFNAME, b"ab\0").finish();
        assert_eq!((message.len(), message[0]), (40, 40));
        assert_eq!(message[20], 5);
    }

    #[test]
    fn an_answer_is_an_errno() {
        let answer = |code: i32| [vec![0; HEADER_BYTES], code.to_ne_bytes().to_vec()].concat();
        assert_eq!(outcome(&answer(0)), Ok(()));
        assert_eq!(outcome(&answer(-libc::EOPNOTSUPP)), Err(Errno::EOPNOTSUPP));
        assert_eq!(outcome(&[1, 2]), Err(Errno::EPROTO));
    }
}
