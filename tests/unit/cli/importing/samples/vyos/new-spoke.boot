interfaces {
    ethernet eth0 {
        address "dhcp"
    }
    tunnel tun100 {
        address "172.31.253.1/32"
        encapsulation "gre"
        parameters {
            ip {
                key "42"
            }
        }
        source-interface "eth0"
    }
}
protocols {
    bgp {
        address-family {
            ipv4-unicast {
                network 192.168.20.0/24 {
                }
            }
        }
        neighbor 172.31.253.134 {
            address-family {
                ipv4-unicast {
                }
            }
            remote-as "65010"
        }
        system-as "65010"
    }
    nhrp {
        tunnel tun100 {
            authentication "test123"
            holdtime "300"
            multicast "172.31.253.134"
            network-id "1"
            nhs {
                tunnel-ip dynamic {
                    nbma "192.0.2.1"
                }
                tunnel-ip 172.31.253.135 {
                    nbma "hub2.example.net"
                }
            }
            shortcut
        }
    }
}
system {
    login {
        user admin {
            authentication {
                encrypted-password "$6$rounds=656000$notreal"
            }
        }
    }
}
/* Warning: Do not remove the following line. */
/* === vyos-config-version: "bgp@5:nhrp@1" === */
// Release version: 1.5-rolling
