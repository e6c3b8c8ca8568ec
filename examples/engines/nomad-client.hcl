# A Nomad client whose podman runs brig, by containers.conf of this directory:
#
#     podman system service --time 0 unix:///run/podman/podman.sock &
#     nomad agent -config nomad-client.hcl
data_dir = "/var/lib/nomad"

client {
  enabled = true
}

plugin "nomad-driver-podman" {
  config {
    socket_path = "unix:///run/podman/podman.sock"

    volumes {
      enabled = true
    }
  }
}
