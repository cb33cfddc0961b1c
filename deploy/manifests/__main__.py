"""Writes the manifests into deploy/kubernetes."""

from deploy.manifests import write

if __name__ == "__main__":
    for path in write():
        print(path)
