//! Networks by address and prefix, and the normalization of addresses for limits.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A list of networks, such as `10.0.0.0/8, ::1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(u128, u8)>);

/// Maps IPv4 addresses to IPv6 (RFC 4291 §2.5.5.2), so that both kinds are one number.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Bits before the IPv4 address in an IPv4-mapped one.
const V4_OFFSET: u8 = 96;

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl Networks {
    /// Whether the address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = bits(address);
        self.0.iter().any(|(network, prefix)| (network ^ address) & mask(*prefix) == 0)
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(parse_one).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_one(text: &str) -> Result<(u128, u8), String> {
    let wrong = || format!("{text:?} is no address or network (10.0.0.0/8, 192.0.2.1, fd00::/8)");
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let (offset, longest) = if address.is_ipv4() { (V4_OFFSET, 32) } else { (0, 128) };
    let prefix = match prefix {
        None => longest,
        Some(digits) => digits.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(wrong)?,
    };
    let prefix = offset + prefix;
    if bits(address) & !mask(prefix) != 0 {
        return Err(format!("{text:?} has bits behind its prefix; it names no network"));
    }
    Ok((bits(address), prefix))
}

/// Converts an IPv4-mapped IPv6 address to IPv4.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The unit that limits count: an IPv4 address, or the /64 of an IPv6 one, which belongs to one subscriber.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match canonical(address) {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask(64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_networks() {
        let networks: Networks = "10.0.0.0/8, 192.0.2.7,fd00::/8,::1,".parse().unwrap();
        for inside in ["10.255.0.1", "192.0.2.7", "fdff::1", "::1", "::ffff:10.1.2.3"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.0", "192.0.2.8", "fc00::1", "::2", "::10.0.0.1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        let all: Networks = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains([8, 8, 8, 8].into()) && !all.contains("2001::1".parse().unwrap()));
        assert!("::/0".parse::<Networks>().unwrap().contains([8, 8, 8, 8].into()));
        assert!("".parse::<Networks>().unwrap().is_empty());
        for wrong in ["10.0.0.0/33", "10.0.0.1/8", "nowhere", "::/129", "1.2.3.4/x", "/8"] {
            assert!(wrong.parse::<Networks>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_subscriber_counts_once() {
        let counted = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(
            (counted("::ffff:192.0.2.1"), counted("192.0.2.1")),
            ("192.0.2.1".into(), "192.0.2.1".into())
        );
    }
}
