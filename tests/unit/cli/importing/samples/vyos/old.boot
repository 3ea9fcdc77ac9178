interfaces {
    tunnel tun7 {
        address 10.67.0.3/16
        encapsulation gre
        local-ip 198.51.100.67
        parameters {
            ip {
                key 7
                ttl 32
            }
        }
    }
}
protocols {
    nhrp {
        tunnel tun7 {
            cisco-authentication nhrp7key
            dynamic-map 10.67.0.0/16 {
                nbma-domain-name hubs.corp.example
            }
            holding-time 600
            map 10.67.0.9/32 {
                nbma-address 198.51.100.99
            }
            non-caching
            shortcut-destination
            shortcut-target 192.168.67.0/24 {
                holding-time 300
            }
            shortcut
        }
    }
}
vpn {
    ipsec {
        esp-group E7 {
            proposal 1 {
                encryption aes128
                hash sha1
            }
        }
        ike-group I7 {
            key-exchange ikev1
            proposal 1 {
                dh-group 2
                encryption aes128
                hash sha1
            }
        }
        profile P7 {
            authentication {
                mode pre-shared-secret
                pre-shared-secret "seventh heaven"
            }
            bind {
                tunnel tun7
            }
            esp-group E7
            ike-group I7
        }
    }
}
